"""Rankings in batches, as they come: what whoever stores them goes through."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from bfpo_bench.common.batches import answer_chunks, missing
from bfpo_bench.rankers.protocol import Comparison, Ranker, Ranking, ServedRanker


def rank_all(
    ranker: Ranker | ServedRanker, items: Iterable[Comparison], known: Container[int], chunk: int
) -> Iterator[list[tuple[int, Ranking]]]:
    """The rankings that are missing, each batch as soon as it is there.

    A ranker behind a server is asked for the missing ones alone; one that is computed here gets
    `chunk` comparisons at a time and may repeat known ones, see :func:`~.chunks.answer_chunks`.

    Args:
        items: read as they are needed.
        known: numbers (from 0) of those whose rankings are stored.

    Returns:
        batches of (number, ranking).
    """
    if isinstance(ranker, ServedRanker):
        return ranker.stream(missing(items, known))
    return answer_chunks(ranker.rank, items, known, chunk)
