"""What the transformers engine does when a batch does not fit the GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from bfpo_bench.common.errors import RunFailed

log = logging.getLogger(__name__)
T = TypeVar("T")


def halve_when_full(
    run: Callable[[list[int]], Iterator[list[tuple[int, T]]]], batch: list[int]
) -> Iterator[list[tuple[int, T]]]:
    """Runs a batch; what is left of it is halved when the GPU's memory does not suffice.

    Args:
        run: yields (member of the batch, answer), as they come.

    Raises:
        RunFailed: there is no room for a single sequence.
    """
    left = dict.fromkeys(batch)
    try:
        for some in run(batch):
            for index, _ in some:
                del left[index]
            yield some
        return
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        if len(left) == 1:
            raise RunFailed(
                "the GPU has no room for a single sequence; lower --max-length, use "
                "--dtype bfloat16 or a larger GPU, then run the same command again."
            ) from None
    log.warning("out of GPU memory with %d sequences; halving the batch", len(batch))
    rest = list(left)
    half = len(rest) // 2
    yield from halve_when_full(run, rest[:half])
    yield from halve_when_full(run, rest[half:])
