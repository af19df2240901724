"""Adapters of PEFT (LoRA and its kin): weights beside a base model's, found and looked at.

An adapter is evaluated on its base by ``--adapter``: it is merged into the base's weights when they
are loaded (:mod:`bfpo_bench.engines.hf.merging`), so that every engine works with the same weights.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.foreign import foreign_json
from bfpo_bench.models.checkpoint import ADAPTER_CONFIG, MOST_CONFIG, ModelFiles, from_hub
from bfpo_bench.models.weights import safetensors_header

log = logging.getLogger(__name__)

WEIGHTS = "adapter_model.safetensors"
PROMPTS = frozenset(("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT", "CPT"))
"""Kinds that are put before the prompt and not into the weights."""

_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Adapter:
    """An adapter folder.

    Attributes:
        name: how the user called it: hub id, or the folder's name.
        config: content of ``adapter_config.json``.
        doubt: why it may be on the wrong base, None where nothing speaks for it.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    doubt: str | None = None

    @property
    def weights(self) -> Path:
        """Its safetensors file."""
        return self.folder / WEIGHTS

    @property
    def has_tokenizer(self) -> bool:
        """Whether a tokenizer was saved with it: the one that it was trained with."""
        names = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
        return any((self.folder / name).is_file() for name in names)


def find_adapter(name: str, base: ModelFiles) -> Adapter:
    """Finds an adapter folder or one of the hub, and checks that it goes with its base.

    Raises:
        BadInput: there is none, it is damaged, of a kind that cannot be merged, pickled, or made
            for layers of other shapes.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        shown, folder = path.resolve().name, path.resolve()
    elif name.count("/") == 1 and not name.startswith((".", "/", "~")):
        shown, folder = name, from_hub(name, None)
    else:
        raise BadInput(f"there is no adapter folder {name!r}; correct --adapter.")
    file = folder / ADAPTER_CONFIG
    try:
        config = foreign_json(file, MOST_CONFIG)
        kind = str(config["peft_type"])
    except OSError as error:
        raise BadInput(
            f"{folder} holds no adapter ({ADAPTER_CONFIG}: {error.strerror}); --adapter takes a "
            "folder as PEFT saves it."
        ) from error
    except (ValueError, LookupError, TypeError) as error:
        raise BadInput(f"the adapter's {file} is damaged ({error}); copy it again.") from error
    if kind in PROMPTS:
        raise BadInput(
            f"{folder} is an adapter of kind {kind}, which does not change the weights and cannot "
            "be merged into them; only adapters such as LoRA can be evaluated."
        )
    if not (folder / WEIGHTS).is_file():
        raise BadInput(
            f"{folder} has no {WEIGHTS}; save the adapter again with a newer PEFT (pickled weights "
            "are not read, they can run code)."
        )
    _check_shapes(folder, base, config)
    return Adapter(shown, folder, config, _doubt(shown, config, base))


def _doubt(name: str, config: dict[str, Any], base: ModelFiles) -> str | None:
    named = config.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        return None
    if Path(named).expanduser().is_dir() and Path(named).expanduser().resolve() == base.folder:
        return None
    if Path(named).name.casefold() in (
        Path(base.name).name.casefold(),
        base.folder.name.casefold(),
    ):
        return None
    doubt = f"the adapter {name} names {named} as its base and was put on {base.name}"
    log.warning("%s; make sure that they are the same.", doubt)
    return doubt


def _check_shapes(folder: Path, base: ModelFiles, config: dict[str, Any]) -> None:
    """Compares low-rank pairs with the layers of their names; others are found out in loading."""
    tensors = safetensors_header(folder / WEIGHTS)
    _check_ranks(folder, tensors, config)
    layers: dict[str, list[int]] = {}
    for file in base.weights:
        layers |= {name: t["shape"] for name, t in safetensors_header(file).items()}
    for name, tensor in tensors.items():
        module, found, _ = name.removeprefix(_PREFIX).partition(".lora_A.")
        up = tensors.get(name.replace(".lora_A.", ".lora_B."))
        layer = layers.get(f"{module}.weight")
        if not found or up is None or layer is None or len(layer) != 2:
            continue
        made_for = sorted((tensor["shape"][-1], up["shape"][0]))
        if sorted(layer) != made_for:
            raise BadInput(
                f"the adapter {folder} does not fit {base.name}: it changes {module} of "
                f"{made_for[0]} × {made_for[1]} numbers, where the model has {min(layer)} × "
                f"{max(layer)}; give the base it was made for with --model"
                f"{_named(config)}."
            )


def _check_ranks(folder: Path, tensors: dict[str, Any], config: dict[str, Any]) -> None:
    """PEFT makes room for what the config says before it looks at the weights."""
    patterns = config.get("rank_pattern")
    ranks = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else ())]
    most = max((size for tensor in tensors.values() for size in tensor["shape"]), default=0)
    for rank in ranks:
        if isinstance(rank, int) and rank > most:
            raise BadInput(
                f"the adapter's {folder / ADAPTER_CONFIG} names a rank of more than {most:,}, the "
                "greatest size of its weights; copy the adapter again."
            )


def _named(config: dict[str, Any]) -> str:
    named = config.get("base_model_name_or_path")
    return f" ({named})" if named else ""
