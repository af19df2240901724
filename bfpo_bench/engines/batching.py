"""Which requests are computed together, and what is done when they do not fit the GPU.

Batches are planned from the lengths of all requests and from nothing else, so that a run that
was interrupted computes the very same batches when it goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

from bfpo_bench.common.errors import RunFailed

log = logging.getLogger(__name__)
T = TypeVar("T")


def plan_batches(
    lengths: Sequence[int],
    max_sequences: int,
    max_tokens: int,
    groups: Sequence[int] | None = None,
) -> list[list[int]]:
    """Batches of similar lengths, longest first.

    Longest first means that memory runs out, if it does, in the first minute.

    Args:
        lengths: tokens of each request, ``[requests]``.
        max_sequences: most requests in a batch.
        max_tokens: most tokens in a batch once padded (requests × longest). A request longer
            than that is a batch of its own.
        groups: group number of each request; a group is not split unless it alone exceeds the
            limits. None: every request is its own group.

    Returns:
        lists of indices into `lengths`; every index stands in exactly one.
    """
    members: dict[int, list[int]] = {}
    for index in range(len(lengths)):
        members.setdefault(groups[index] if groups is not None else index, []).append(index)
    ordered = sorted(
        members.values(), key=lambda group: (-max(lengths[i] for i in group), group[0])
    )
    batches: list[list[int]] = []
    batch: list[int] = []
    longest = 0
    for group in ordered:
        width = max(longest, max(lengths[i] for i in group))
        size = len(batch) + len(group)
        if batch and (size > max_sequences or size * width > max_tokens):
            batches.append(batch)
            batch, width = [], max(lengths[i] for i in group)
        batch = batch + group
        longest = width
        if len(batch) > max_sequences or len(batch) * longest > max_tokens:
            # One group over the limits: cut it, it has no right to a batch of any size.
            rows = max(1, min(max_sequences, max_tokens // max(1, longest)))
            pieces = [batch[i : i + rows] for i in range(0, len(batch), rows)]
            batches.extend(pieces[:-1])
            batch = pieces[-1]
            longest = max(lengths[i] for i in batch)
    if batch:
        batches.append(batch)
    return batches


def pending(batches: Sequence[list[int]], answered: Collection[int]) -> Iterator[list[int]]:
    """The batches that hold at least one request that is not answered, whole."""
    known = answered if isinstance(answered, (set, frozenset)) else set(answered)
    for batch in batches:
        if not known.issuperset(batch):
            yield batch


def power_of_two(value: float, low: int, high: int) -> int:
    """The largest power of two not above `value`, kept within ``[low, high]``.

    Sizes found from free memory are rounded so coarsely that the same machine finds the same
    size again.
    """
    size = low
    while size * 2 <= value and size * 2 <= high:
        size *= 2
    return size


def halve_when_full(
    run: Callable[[list[int]], Iterator[list[tuple[int, T]]]], batch: list[int]
) -> Iterator[list[tuple[int, T]]]:
    """Runs a batch; what is left of it is halved when the GPU's memory does not suffice.

    Args:
        run: yields (member of the batch, answer), as they come.

    Raises:
        RunFailed: there is no room for a single sequence.
    """
    import torch

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
