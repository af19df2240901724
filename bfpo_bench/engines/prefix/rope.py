"""Rotary embeddings whose frequencies follow the longest sequence of a batch.

"Dynamic" and "longrope" scaling look at the largest position that goes through the model and
choose frequencies by it, "dynamic" even remembers the longest sequence so far. Taken as it comes, a
request's score would then depend on what else stood in its batch and before it. So requests that
need other frequencies are kept apart, and what a model remembers is forgotten between batches:
every request gets the frequencies that it would get alone.
"""

from __future__ import annotations

from typing import Any


class RopeByLength:
    """What the length of a sequence does to a model's frequencies.

    Args:
        model: any transformers model; one whose frequencies are fixed has one regime.
    """

    def __init__(self, model: Any) -> None:
        self._growing = [module for module in model.modules() if "dynamic" in _types(module)]
        self._grows_above = min(
            (int(module.original_max_seq_len) for module in self._growing), default=None
        )
        switches = [
            int(parameters["original_max_position_embeddings"])
            for parameters in _parameters(model.config.get_text_config())
            if parameters.get("rope_type") == "longrope"
        ]
        self._switches_above = min(switches, default=None)

    def regime(self, tokens: int) -> int:
        """A number that sequences of like frequencies have in common; longer ones have larger."""
        if self._grows_above is not None and tokens > self._grows_above:
            return tokens
        return int(self._switches_above is not None and tokens > self._switches_above)

    def forget(self) -> None:
        """Sets the frequencies back to those of short sequences."""
        for module in self._growing:
            for name in [n for n in vars(module) if n.endswith("max_seq_len_cached")]:
                prefix = name.removesuffix("max_seq_len_cached")
                setattr(module, name, module.original_max_seq_len)
                current = getattr(module, f"{prefix}inv_freq", None)
                if current is not None:
                    original = getattr(module, f"{prefix}original_inv_freq").to(current.device)
                    module.register_buffer(f"{prefix}inv_freq", original, persistent=False)


def _types(module: Any) -> set[str]:
    """Kinds of rotary embedding that a module computes: one, or one per kind of layer."""
    kind = getattr(module, "rope_type", None)
    if not hasattr(module, "original_max_seq_len"):
        return set()
    return set(kind.values()) if isinstance(kind, dict) else {str(kind)}


def _parameters(config: Any) -> list[dict[str, Any]]:
    """A config's rotary parameters: one dictionary, or one per kind of layer."""
    parameters = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    return nested or [parameters]
