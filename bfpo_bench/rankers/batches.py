"""Rankings in batches, as they come: what whoever stores them goes through."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from typing import TypeVar

from bfpo_bench.common.batches import answer_chunks, at_once, missing
from bfpo_bench.rankers.protocol import BatchRanker, Comparison, Ranker, Ranking, ServedRanker

Answer = TypeVar("Answer")


def rank_all(
    ranker: Ranker | ServedRanker, items: Iterable[Comparison], known: Container[int], chunk: int
) -> Iterator[list[tuple[int, Ranking]]]:
    """The rankings that are missing, each batch as soon as it is there.

    A ranker behind a server is asked for the missing ones alone; one that is computed here gets
    `chunk` comparisons at a time and may repeat known ones, see :func:`~.batches.answer_chunks`.

    Args:
        items: read as they are needed.
        known: numbers (from 0) of those whose rankings are stored.

    Returns:
        batches of (number, ranking).
    """
    if isinstance(ranker, ServedRanker):
        return ranker.stream(missing(items, known))
    if isinstance(ranker, BatchRanker):
        return answer_chunks(ranker.in_batches, items, known, chunk)
    return answer_chunks(at_once(ranker.rank), items, known, chunk)


def of_both(
    count: int,
    known: Container[int],
    batches: Callable[[set[int]], Iterable[list[tuple[int, Answer]]]],
) -> Iterator[list[tuple[int, tuple[Answer, Answer]]]]:
    """What is known of both sides of comparisons, batch by batch.

    Args:
        count: of the comparisons.
        known: numbers of those that are ranked.
        batches: takes the places that are not needed and hands out answers by place: of a
            comparison's first side at its number, of its second `count` places further.
    """
    rows: dict[int, Answer] = {}
    for batch in batches({place for place in range(2 * count) if place % count in known}):
        rows.update(batch)
        ended = dict.fromkeys(place % count for place, _ in batch)
        both = [number for number in ended if number in rows and number + count in rows]
        if both:
            yield [(number, (rows.pop(number), rows.pop(number + count))) for number in both]
