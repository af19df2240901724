"""Rankings in batches, as they come: what whoever stores them goes through."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Iterator

from bfpo_bench.rankers.protocol import Comparison, Ranker, Ranking, ServedRanker


def rank_all(
    ranker: Ranker | ServedRanker, items: Iterable[Comparison], known: Container[int], chunk: int
) -> Iterator[list[tuple[int, Ranking]]]:
    """The rankings that are missing, each batch as soon as it is there.

    As with verdicts (:func:`bfpo_bench.judges.judge_all`): what is computed here is computed in
    chunks counted over *all* comparisons, so that an interruption changes no rounding, and known
    rankings may come again; a server is asked for the missing ones alone.

    Args:
        items: read as they are needed.
        known: numbers (from 0) of those whose rankings are stored.

    Yields:
        batches of (number, ranking).
    """
    numbered = enumerate(items)
    if isinstance(ranker, ServedRanker):
        yield from ranker.stream(pair for pair in numbered if pair[0] not in known)
        return
    while part := list(itertools.islice(numbered, chunk)):
        if all(number in known for number, _ in part):
            continue
        rankings = ranker.rank([item for _, item in part])
        yield [(number, r) for (number, _), r in zip(part, rankings, strict=True)]
