"""What a run needs: memory and time of a model, from its shape, its work and the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bfpo_bench.common.device import Device, Speed
from bfpo_bench.engines.options import Loading
from bfpo_bench.estimate.model_shape import ModelShape
from bfpo_bench.estimate.tokens import Work

BATCH = {"hf": 128, "vllm": 256}
"""Responses under way at a time, where the user names no --batch-size."""

SCORED_TOKENS = {True: 8192, False: 2048}
"""Tokens that go through the layers at one time (on a GPU, on a CPU)."""


@dataclass(frozen=True)
class Use:
    """A model, how and where it is loaded, and what is asked of it.

    Attributes:
        works: everything that is asked, at least one entry.
        max_length: context window that the user asked for.
    """

    shape: ModelShape
    backend: str
    options: Loading
    device: Device
    works: Sequence[Work]
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


def memory_need(use: Use) -> Memory:
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


def memory_verdict(use: Use, need: Memory) -> str:
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


def _advice(use: Use, need: Memory, room: int) -> str:
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


def least_seconds(use: Use, speed: Speed) -> dict[str, float]:
    """Seconds of each stage with the device at full speed and every response at its limit.

    Reading costs 2 operations for every used parameter and token; a step of generation costs the
    same for each sequence, but at least one reading of the weights and of the keys and values.
    Attention's own operations (a few percent at these lengths) are left out.
    """
    shape, options, device = use.shape, use.options, use.device
    devices = options.tensor_parallel_size * options.data_parallel_size if device.is_gpu else 1
    sequences = options.batch_size or BATCH[use.backend]
    found: dict[str, float] = {}
    for work in use.works:
        seconds = 2 * shape.used_parameters * work.read / speed.flops
        if work.new:
            steps = work.new * math.ceil(work.requests / sequences)
            at_a_time = min(sequences, work.requests)
            computed = 2 * shape.used_parameters * work.generated / speed.flops
            moved = shape.weight_bytes + at_a_time * shape.cache_bytes(work.longest - work.new // 2)
            seconds += max(computed, steps * moved / speed.bandwidth)
        found[work.stage] = found.get(work.stage, 0.0) + seconds / devices
    return found


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
