"""Answers that are missing, batch by batch as they come: what judging and ranking go through."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def answer_chunks(
    answer: Callable[[list[Item]], Sequence[Answer]],
    items: Iterable[Item],
    known: Container[int],
    chunk: int,
) -> Iterator[list[tuple[int, Answer]]]:
    """Answers computed here, `chunk` items at a time.

    Chunks are counted over *all* items, and only a chunk that is known whole is left out: what is
    computed together, and with it every floating-point rounding, is then the same with and without
    an interruption. Answers that are known may thus come again.

    Args:
        items: read as they are needed.
        known: numbers (from 0) of those whose answers are stored.

    Yields:
        batches of (number, answer).
    """
    numbered = enumerate(items)
    while part := list(itertools.islice(numbered, chunk)):
        if all(number in known for number, _ in part):
            continue
        answers = answer([item for _, item in part])
        yield [(number, one) for (number, _), one in zip(part, answers, strict=True)]


def missing(items: Iterable[Item], known: Container[int]) -> Iterator[tuple[int, Item]]:
    """The items without a stored answer and their numbers: all that a server is asked for."""
    return (pair for pair in enumerate(items) if pair[0] not in known)
