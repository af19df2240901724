"""The device that models run on, and its memory."""

from __future__ import annotations

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
