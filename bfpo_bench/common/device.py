"""The device that models run on: its memory, and how fast it computes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_CPU = Path("/proc/cpuinfo")

_UNITS = {
    "bfloat16": {"avx512_bf16", "amx_bf16", "bf16"},
    "float16": {"avx512_fp16", "amx_fp16", "asimdhp"},
}
"""What Linux calls units that multiply numbers of 16 bits, on x86 and on ARM (asimdhp, bf16)."""


@dataclass(frozen=True)
class Device:
    """Where a model is loaded.

    Attributes:
        name: as torch calls it: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …
        title: for people.
        free, total: bytes of its memory.
        count: how many of the kind are visible.
    """

    name: str
    title: str
    free: int
    total: int
    count: int = 1

    @property
    def is_gpu(self) -> bool:
        """Whether this is a GPU of CUDA or ROCm."""
        return self.name.startswith("cuda")


@dataclass(frozen=True)
class Speed:
    """What a device was seen to do.

    Attributes:
        flops: floating-point operations a second in a product of large matrices.
        bandwidth: bytes a second read from memory in a product of a matrix and a vector.
    """

    flops: float
    bandwidth: float


def find_device(name: str = "auto") -> Device:
    """The device that an engine chooses when asked for `name`."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info(torch.device(name))
        title = f"GPU {torch.cuda.get_device_name(name)}"
        return Device(name, title, free, total, torch.cuda.device_count())
    import psutil

    memory = psutil.virtual_memory()
    free, total = memory.available, memory.total
    container = _container()
    if container is not None:
        limit, used = container
        free, total = min(free, max(0, limit - used)), min(total, limit)
    return Device("cpu", f"CPU, {torch.get_num_threads()} threads", free, total)


def cpu_formats() -> frozenset[str]:
    """The formats of 16 bits that this machine's CPU has units for; others it emulates.

    Where nobody lists them (no Linux), both, so that nothing is said or decided by a guess.
    """
    try:
        text = _CPU.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset(_UNITS)
    flags = {
        flag
        for name, _, value in (line.partition(":") for line in text.splitlines())
        if name.strip() in ("flags", "Features")
        for flag in value.split()
    }
    if not flags:
        return frozenset(_UNITS)
    return frozenset(name for name, units in _UNITS.items() if units & flags)


def _container() -> tuple[int, int] | None:
    """Most bytes that this container may take, and those it takes beside cached files.

    None without such a limit (Linux, cgroup 2).
    """
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return (int(limit), used - int(stat.get("file", 0))) if limit.isdecimal() else None


def measure_speed(device: str, dtype: str) -> Speed:
    """Times products of random matrices on the device for well under a second.

    Args:
        device: as in :class:`Device`.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``; anything else counts as bfloat16.
    """
    import torch

    kind = getattr(torch, dtype) if dtype in ("float32", "float16") else torch.bfloat16
    gpu = device.startswith("cuda")

    def wait() -> None:
        if gpu:
            torch.cuda.synchronize(device)

    def seconds(run: Callable[[], object], budget: float) -> float:
        """The shortest of the runs that the budget allows, after one to warm up."""
        run()
        wait()
        best, begin = float("inf"), time.perf_counter()
        while time.perf_counter() - begin < budget or best == float("inf"):
            start = time.perf_counter()
            run()
            wait()
            best = min(best, time.perf_counter() - start)
        return best

    with torch.inference_mode():
        side = 4096 if gpu else 256
        while True:
            left = torch.rand(side, side, dtype=kind, device=device)
            spent = seconds(lambda a=left: a @ a, 0.1)  # type: ignore[misc]
            # A CPU without units for this dtype is slow enough at 256.
            if gpu or spent > 0.02 or side >= 1024:
                break
            side *= 2
        flops = 2 * side**3 / spent
        rows = (1 << 28 if gpu else 1 << 26) // (4096 * kind.itemsize)
        matrix = torch.ones(rows, 4096, dtype=kind, device=device)
        vector = torch.ones(4096, dtype=kind, device=device)
        bandwidth = rows * 4096 * kind.itemsize / seconds(lambda: matrix @ vector, 0.1)
    return Speed(flops, bandwidth)
