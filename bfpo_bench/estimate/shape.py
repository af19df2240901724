"""How large a model is, from its config and the headers of its files; no weight is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.config import cached_values, hidden, intermediate, number
from bfpo_bench.models.weights import safetensors_header

_FLOATS = ("F64", "F32", "BF16", "F16")  # loaded in the dtype of the run
_ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class CacheLayer:
    """What one layer keeps of a sequence.

    Attributes:
        values: numbers for each token: those of its keys and of its values.
        window: most tokens that are kept; None keeps all.
    """

    values: int
    window: int | None


@dataclass(frozen=True)
class ModelShape:
    """How large a model is, loaded in the dtype of a run.

    Attributes:
        parameters: numbers in the weights, tied ones once; packed numbers of a quantised
            checkpoint are not among them.
        weight_bytes: of the loaded weights.
        stored_bytes: the same as the files hold them, by their dtype there.
        quantised: whether the files hold packed numbers.
        dtype: of the loaded weights.
        cache: see :class:`CacheLayer`, ``[layers]``.
        hidden, intermediate, vocabulary: widths of the residual stream, the feed-forward layer and
            the logits.
        context: tokens that the model was made for.
    """

    parameters: int
    weight_bytes: int
    stored_bytes: dict[str, int]
    quantised: bool
    dtype: str
    cache: tuple[CacheLayer, ...]
    hidden: int
    intermediate: int
    vocabulary: int
    context: int

    @property
    def item_bytes(self) -> int:
        """Bytes of one number of an activation."""
        return _ITEM_BYTES.get(self.dtype, 2)

    def cache_bytes(self, tokens: int) -> int:
        """Bytes of the keys and values of one sequence of so many tokens."""
        kept = (
            layer.values * (tokens if layer.window is None else min(tokens, layer.window))
            for layer in self.cache
        )
        return sum(kept) * self.item_bytes


def model_shape(files: ModelFiles, dtype: str, trust_remote_code: bool = False) -> ModelShape:
    """Reads the shape of a model.

    Args:
        dtype: the weights are loaded in; ``"auto"`` where the checkpoint names none.

    Raises:
        BadInput: transformers cannot read the config.
    """
    config = _text_config(files, trust_remote_code)
    tensors = _tensors(files, config)
    stored: dict[str, int] = {}
    parameters = packed = 0
    for tensor in tensors.values():
        kind, size = tensor["dtype"], math.prod(tensor["shape"])
        begin, end = tensor["data_offsets"]
        stored[kind] = stored.get(kind, 0) + end - begin
        if kind not in _FLOATS:
            packed += end - begin
            continue
        parameters += size
    return ModelShape(
        parameters=parameters,
        weight_bytes=parameters * _ITEM_BYTES.get(dtype, 2) + packed,
        stored_bytes=stored,
        quantised=packed > 0,
        dtype=dtype,
        cache=_cache_layers(config),
        hidden=hidden(config),
        intermediate=intermediate(config),
        vocabulary=number(config, "vocab_size") or 1,
        context=number(config, "max_position_embeddings") or 2048,
    )


def _text_config(files: ModelFiles, trust_remote_code: bool) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(files.folder), trust_remote_code=trust_remote_code)
        return config.get_text_config(decoder=True)
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise BadInput(
            f"transformers cannot read {files.folder / 'config.json'} "
            f"({reason[0] if reason else type(error).__name__}); the model may need a newer "
            "transformers, or --trust-remote-code."
        ) from error


def _tensors(files: ModelFiles, config: Any) -> dict[str, dict[str, Any]]:
    """Every tensor of the weight files that takes memory of its own."""
    found: dict[str, dict[str, Any]] = {}
    for file in files.weights:
        found.update(safetensors_header(file))
    if getattr(config, "tie_word_embeddings", False) and any(map(_is_input_embedding, found)):
        # A copy of the input embedding that some checkpoints carry along.
        found = {n: tensor for n, tensor in found.items() if not n.endswith("lm_head.weight")}
    return found


def _is_input_embedding(name: str) -> bool:
    return name.endswith(("embed_tokens.weight", "wte.weight", "embed_in.weight"))


def _cache_layers(config: Any) -> tuple[CacheLayer, ...]:
    """The layers of the cache that transformers makes for this config."""
    from transformers import DynamicCache

    values = cached_values(config)
    try:
        made = DynamicCache(config=config).layers
    except Exception:  # kinds of layers that it has no cache for
        made = []
    if not made:
        return tuple(CacheLayer(own, None) for own in values)
    layers = []
    for own, layer in zip(values, made, strict=False):
        # Layers of linear attention keep a state whose size does not grow with the text.
        if not hasattr(layer, "keys"):
            continue
        window = getattr(layer, "sliding_window", None)
        # transformers keeps window - 1 tokens: the next one completes the window.
        layers.append(CacheLayer(own, None if window is None else int(window) - 1))
    return tuple(layers)
