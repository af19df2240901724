"""What a model needs of memory: its shape, from config and file headers, and its work on a device.

No weight is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bfpo_bench.common.device import Device
from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.options import Loading
from bfpo_bench.estimate.tokens import Workload
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.config import cached_values, hidden, intermediate, number
from bfpo_bench.models.weights import safetensors_header

BATCH = {"hf": 128, "vllm": 256}
"""Responses under way at a time, where the user names no --batch-size."""

SCORED_TOKENS = {True: 8192, False: 2048}
"""Tokens that go through the layers at one time (on a GPU, on a CPU)."""

_FLOATS = ("F64", "F32", "BF16", "F16")  # loaded in the dtype of the run
_ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


# ------------------------------------------------------------------------- shape


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


# ------------------------------------------------------------------------ memory


@dataclass(frozen=True)
class ModelUse:
    """A model, how and where it is loaded, and what is asked of it.

    Attributes:
        works: everything that is asked, at least one entry.
        max_length: context window that the user asked for.
    """

    shape: ModelShape
    backend: str
    options: Loading
    device: Device
    works: Sequence[Workload]
    max_length: int | None = None


@dataclass(frozen=True)
class Memory:
    """Bytes that one model takes on one device.

    Attributes:
        weights: of the model, or of the part of it that one GPU holds.
        token: keys and values of one more token of a long text.
        single: keys and values of the longest request alone.
        batch: keys and values of `sequences` such requests.
        sequences: requests under way at a time when memory allows it.
        activations: of what goes through the layers at one time.
        reserved: what vLLM takes whatever it needs; None where memory is taken as it is needed.
    """

    weights: int
    token: int
    single: int
    batch: int
    sequences: int
    activations: int
    reserved: int | None

    @property
    def least(self) -> int:
        """With one request at a time."""
        return self.weights + self.single + self.activations

    @property
    def wanted(self) -> int:
        """With full batches."""
        return self.weights + self.batch + self.activations


def memory_need(use: ModelUse) -> Memory:
    """The memory that a model needs for its work, on each of its GPUs (or in all, on a CPU)."""
    shape, works, options, device = use.shape, use.works, use.options, use.device
    vllm = use.backend == "vllm"
    parts = options.tensor_parallel_size if device.is_gpu else 1
    copies = 1 if device.is_gpu else options.data_parallel_size
    window = min(use.max_length or shape.context, shape.context)
    # hf keeps keys and values while it generates only; vLLM always, and it refuses to start
    # without room for a text that fills the window.
    cached = [work for work in works if vllm or work.stage == "respond"]
    kept = min(max((work.longest for work in cached), default=0), window)
    single = copies * shape.cache_bytes(window if vllm else kept) // parts
    requests = max((work.requests for work in cached), default=1)
    sequences = max(1, min(options.batch_size or BATCH[use.backend], requests))
    tokens = SCORED_TOKENS[device.is_gpu]
    # In a layer at one time: the residual stream and its copies, queries, keys, values, and the
    # feed-forward layer's gate, its other half and their product.
    layer = tokens * (6 * shape.hidden + 3 * shape.intermediate) * shape.item_bytes
    # Logits in float32, and what is sorted and summed to draw from them.
    logits = 16 * shape.vocabulary * (sequences if kept else 64)
    batch = copies * sequences * shape.cache_bytes(kept) // parts
    reserved = None
    if vllm and device.is_gpu:
        reserved = round(options.gpu_memory_utilization * device.total)
    return Memory(
        weights=copies * shape.weight_bytes // parts,
        token=copies * (shape.cache_bytes(2) - shape.cache_bytes(1)) // parts,
        single=single,
        batch=max(single, batch),
        sequences=sequences,
        activations=copies * (layer + logits) // parts,
        reserved=reserved,
    )


def memory_verdict(use: ModelUse, need: Memory) -> str:
    """Whether it fits, in one sentence; if not, what to change."""
    options, device = use.options, use.device
    room = device.free if need.reserved is None else min(device.free, need.reserved)
    if need.reserved is not None and need.reserved > device.free:
        share = device.free / device.total
        return (
            f"will not fit: vLLM takes {gigabytes(need.reserved)} "
            f"(--gpu-memory-utilization {options.gpu_memory_utilization:g}), and only "
            f"{gigabytes(device.free)} are free; free the GPU, or lower "
            f"--gpu-memory-utilization to {math.floor(100 * share) / 100:g}."
        )
    if need.least > room:
        return f"will not fit: {_advice(use, need, room)}"
    if need.wanted > room:
        kept = max(1, (room - need.weights - need.activations) * need.sequences // need.batch)
        return (
            f"fits, with fewer requests at a time: about {kept} of the longest instead of "
            f"{need.sequences}."
        )
    return "fits."


def _advice(use: ModelUse, need: Memory, room: int) -> str:
    shape, options, device = use.shape, use.options, use.device
    left = room - need.weights - need.activations
    if left > 0 and need.token > 0 and use.backend == "vllm":
        return (
            f"vLLM keeps room for one text that fills the context window; lower --max-length to "
            f"{left // need.token:,} or less."
        )
    ways = []
    if shape.dtype == "float32" and need.weights // 2 < room:
        ways.append("use --dtype bfloat16 (half the memory)")
    if left > 0:
        ways.append("lower --max-length")
    if device.is_gpu and options.tensor_parallel_size < device.count:
        ways.append(f"split it with --backend vllm --tensor-parallel-size {device.count}")
    if not device.is_gpu and options.data_parallel_size > 1:
        ways.append("lower --data-parallel-size")
    ways.append("take a device with more memory, or a smaller or quantised model")
    return "; or ".join(ways) + "."


def gigabytes(size: float) -> str:
    """Bytes for people: ``"14.5 GB"`` (10^9 bytes)."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= 0.995 * scale:
            digits = 1 if size < 100 * scale else 0
            return f"{size / scale:.{digits}f} {unit}"
    return f"{size:.0f} bytes"


def duration(seconds: float) -> str:
    """Seconds for people: ``"0.4 s"``, ``"12 s"``, ``"3 min"``, ``"1 h 12 min"``, ``"2 d 3 h"``."""
    if seconds < 0.05:
        return "under 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    if hours < 24:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"
