"""How fast a device multiplies matrices: what model FLOP utilisation is a share of."""

from __future__ import annotations

import functools
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

SIZE = {"cpu": 2048, "cuda": 8192}


@functools.cache
def matrix_rate(device: str, dtype: str) -> float:
    """Operations per second of one large matrix product; best of several.

    Measured in a process of its own, which leaves no context on the GPU behind.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, device, dtype).result()


def _measure(device: str, dtype: str) -> float:
    import torch

    size = SIZE[device]
    one, other = (
        torch.randn(size, size, device=device, dtype=getattr(torch, dtype)) for _ in range(2)
    )
    best = float("inf")
    for _ in range(4 if device == "cpu" else 30):
        if device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        one @ other
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begin)
    return 2.0 * size**3 / best
