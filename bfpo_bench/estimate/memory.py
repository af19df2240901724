"""What a model needs of memory for its work on a device, and whether that is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bfpo_bench.common.device import Device
from bfpo_bench.engines.options import Loading
from bfpo_bench.estimate.shape import ModelShape
from bfpo_bench.estimate.tokens import Workload
from bfpo_bench.estimate.units import gigabytes

BATCH = {"hf": 128, "vllm": 256}
"""Responses under way at a time, where the user names no --batch-size."""

SCORED_TOKENS = {True: 8192, False: 2048}
"""Tokens that go through the layers at one time (on a GPU, on a CPU)."""


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
