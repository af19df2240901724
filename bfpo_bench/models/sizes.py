"""Sizes that a config names, compared with the weights beside it.

A model is made as its config says before the weights are put into it. A config that describes ten
million layers, or a vocabulary of a trillion, would take all time and memory before anybody saw
that its weights are those of a small model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from bfpo_bench.common.errors import BadInput

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTHS = ("hidden_size", "n_embd", "d_model")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_key_value_heads")
_OTHERS = (
    *("intermediate_size", "ffn_dim", "head_dim", "vocab_size", "num_labels", "n_inner"),
    *("num_experts", "num_local_experts", "n_routed_experts", "moe_intermediate_size"),
)

_PACKED = 8
"""Numbers of a model that a byte of its weights may hold: two or four do where it is quantised."""

_SPARE = 100_000_000
"""Numbers that a config may describe beyond those in any case."""

Header = Mapping[str, Mapping[str, Any]]


def check_sizes(file: Path, config: Mapping[str, Any], headers: Sequence[Header]) -> None:
    """Refuses a config that describes a model of another order of size than its weights.

    Args:
        file: where the config stands, for the sentence.
        headers: of the safetensors files, see ``safetensors_header``.

    Raises:
        BadInput: it does, or a size is no size.
    """
    tensors = [tensor for header in headers for tensor in header.values()]
    held = sum(end - begin for begin, end in (tensor["data_offsets"] for tensor in tensors))
    most = _PACKED * held + _SPARE
    # Those of models that also see or hear have a config within for each part.
    for part in (config, *(inner for inner in config.values() if isinstance(inner, Mapping))):
        for name in (*_LAYERS, *_WIDTHS, *_HEADS, *_OTHERS):
            value: Any = part.get(name)
            least = 1 if name in (*_WIDTHS, *_HEADS[:3]) else 0
            if _is_whole(value) and not least <= value <= most:
                raise _absurd(file, f"says that {name} is {_short(value)}", held)
        layers, width = _first(part, _LAYERS), _first(part, _WIDTHS)
        if layers > max(len(tensors), 1):
            raise _absurd(file, f"names {_short(layers)} layers", held, len(tensors))
        described = width * (_first(part, ("vocab_size",)) + layers * width)
        if described > most:
            raise _absurd(file, f"describes a model of {_short(described)} numbers or more", held)


def _first(part: Mapping[str, Any], names: Sequence[str]) -> int:
    return next((part[name] for name in names if _is_whole(part.get(name))), 0)


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: int) -> str:
    return f"{value:,}" if abs(value) < 10**12 else f"about 10^{len(str(value)) - 1}"


def _absurd(file: Path, what: str, held: int, tensors: int | None = None) -> BadInput:
    in_tensors = "" if tensors is None else f" in {tensors:,} tensors"
    return BadInput(
        f"{file} {what}, and the weights beside it are {held:,} bytes{in_tensors}; copy the "
        "config again."
    )
