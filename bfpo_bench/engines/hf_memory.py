"""What the transformers engine does when a batch does not fit the GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from bfpo_bench.errors import RunFailed

log = logging.getLogger(__name__)
T = TypeVar("T")


def halve_when_full(run: Callable[[list[int]], list[T]], batch: list[int]) -> list[T]:
    """Runs a batch; halves it when the GPU's memory does not suffice.

    Raises:
        RunFailed: there is no room for a single sequence.
    """
    try:
        return run(batch)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        if len(batch) == 1:
            raise RunFailed(
                "the GPU has no room for a single sequence; lower --max-length, use "
                "--dtype bfloat16 or a larger GPU, then run the same command again."
            ) from None
    log.warning("out of GPU memory with %d sequences; halving the batch", len(batch))
    half = len(batch) // 2
    return halve_when_full(run, batch[:half]) + halve_when_full(run, batch[half:])
