"""Answers that are missing, batch by batch as they come: what judging and ranking go through."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Taken = TypeVar("Taken", contravariant=True)


InBatches = Callable[[list[Item], set[int]], Iterable[list[tuple[int, Answer]]]]
"""Takes items and the numbers of those whose answers are stored, and hands out numbered answers as
they come. Batches are planned from all items, and those that are known whole are left out."""


def answer_chunks(
    answer: InBatches[Item, Answer],
    items: Iterable[Item],
    known: Container[int],
    chunk: int,
) -> Iterator[list[tuple[int, Answer]]]:
    """Answers computed here: planned for `chunk` items at a time, handed out batch by batch.

    Chunks are counted over *all* items, and only a chunk, or a batch in one, that is known whole is
    left out: what is computed together, and with it every floating-point rounding, is then the same
    with and without an interruption. Answers that are known may thus come again.

    Args:
        items: read as they are needed.
        known: numbers (from 0) of those whose answers are stored.

    Yields:
        batches of (number, answer).
    """
    numbered = enumerate(items)
    while part := list(itertools.islice(numbered, chunk)):
        stored = {place for place, (number, _) in enumerate(part) if number in known}
        if len(stored) == len(part):
            continue
        for batch in answer([item for _, item in part], stored):
            yield [(part[place][0], one) for place, one in batch]


def at_once(answer: Callable[[list[Item]], Sequence[Answer]]) -> InBatches[Item, Answer]:
    """Makes one batch of what answers all items in one call."""

    def batches(items: list[Item], known: set[int]) -> Iterator[list[tuple[int, Answer]]]:
        yield list(zip(range(len(items)), answer(items), strict=True))

    return batches


@runtime_checkable
class Served(Protocol[Taken, Answer]):
    """What asks a server, where every answer is asked for by itself and may cost money.

    What is asked beside it changes nothing in an answer, so a known one is never asked for again.
    """

    def stream(self, items: Iterable[tuple[int, Taken]]) -> Iterator[list[tuple[int, Answer]]]:
        """Answers to numbered items, handed out as they come; `items` is read as needed."""
        ...


@runtime_checkable
class Batched(Protocol[Taken, Answer]):
    """What computes its answers here, batch after batch, each of which may take a while."""

    def in_batches(
        self, items: Sequence[Taken], known: Container[int]
    ) -> Iterable[list[tuple[int, Answer]]]:
        """Answers to `items` by their numbers, each batch as soon as it is there.

        Batches are planned from all items; those whose answers are all `known` are left out.
        """
        ...


def answer_missing(
    who: object,
    answer: Callable[[list[Item]], Sequence[Answer]] | None,
    items: Iterable[Item],
    known: Container[int],
    chunk: int,
) -> Iterator[list[tuple[int, Answer]]]:
    """The answers that are missing, each batch as soon as it is there.

    A server is asked for the missing ones alone; what is computed here gets `chunk` items at a time
    and may repeat known ones, see :func:`answer_chunks`.

    Args:
        who: answers; may be :class:`Served` or :class:`Batched`.
        answer: its method that answers all items in one call, where it is neither.
        items: read as they are needed.
        known: numbers (from 0) of those whose answers are stored.
    """
    if isinstance(who, Served):
        return who.stream(missing(items, known))
    if isinstance(who, Batched):
        return answer_chunks(who.in_batches, items, known, chunk)
    assert answer is not None
    return answer_chunks(at_once(answer), items, known, chunk)


def in_order(batches: Iterable[list[tuple[int, Answer]]], count: int) -> list[Answer]:
    """What batches of (number, answer) hand out, as one answer to each of `count` items."""
    found = dict(itertools.chain.from_iterable(batches))
    return [found[number] for number in range(count)]


def missing(items: Iterable[Item], known: Container[int]) -> Iterator[tuple[int, Item]]:
    """The items without a stored answer and their numbers: all that a server is asked for."""
    return (pair for pair in enumerate(items) if pair[0] not in known)
