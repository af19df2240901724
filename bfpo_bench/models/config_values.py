"""Numbers from a model's config, whatever way an architecture writes them down.

Some write a list with a number for each layer where others write one (Gemma 3n), some have no such
thing (state-space models), and some refuse to answer for all layers at once with an exception of
their own (Gemma 4).
"""

from __future__ import annotations

from typing import Any


def number(config: Any, name: str) -> int | None:
    """A whole number; the largest where there is one for each layer, None where there is none."""
    try:
        value = getattr(config, name, None)
    except Exception:  # what a config raises is its own affair
        layers = _layers(config)
        values = [own for layer in layers if (own := number(layer, name)) is not None]
        return max(values, default=None)
    if isinstance(value, (list, tuple)):
        value = max((one for one in value if isinstance(one, int)), default=None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def hidden(config: Any) -> int:
    """Width of the residual stream; 1 where the config does not tell."""
    return number(config, "hidden_size") or 1


def intermediate(config: Any) -> int:
    """Width of the feed-forward layer; four times the residual stream where it is not told."""
    return number(config, "intermediate_size") or 4 * hidden(config)


def cached_values(config: Any) -> list[int]:
    """Numbers that each layer caches for a token: keys and values; 0 for a model without heads."""
    count = number(config, "num_hidden_layers") or 1
    layers = _layers(config)
    if len(layers) != count:
        return [_values(config)] * count
    return [_values(layer) for layer in layers]


def _values(config: Any) -> int:
    heads = number(config, "num_attention_heads")
    if heads is None:
        return 0
    latent = number(config, "kv_lora_rank")
    if latent:
        # Multi-head latent attention: the latent vector and the part that carries positions.
        return latent + (number(config, "qk_rope_head_dim") or 0)
    size = number(config, "head_dim") or hidden(config) // heads
    return 2 * (number(config, "num_key_value_heads") or heads) * size


def _layers(config: Any) -> list[Any]:
    """The configs of single layers, where transformers makes them."""
    try:
        return list(config.per_layer_config)
    except Exception:  # older configs, those of remote code, and those without layers
        return []
