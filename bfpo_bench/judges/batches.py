"""Verdicts in batches, as they come: what whoever stores them goes through."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from bfpo_bench.common.batches import answer_chunks, at_once, missing
from bfpo_bench.judges.protocol import BatchJudge, Exchange, Judge, ServedJudge, Verdict


def judge_all(
    judge: Judge, items: Iterable[Exchange], known: Container[int], chunk: int
) -> Iterator[list[tuple[int, Verdict]]]:
    """The verdicts that are missing, each batch as soon as it is there.

    A judge behind a server is asked for the missing ones alone; one that is computed here gets
    `chunk` exchanges at a time and may repeat known ones, see :func:`~.batches.answer_chunks`.

    Args:
        items: read as they are needed.
        known: numbers (from 0) of those whose verdicts are stored.

    Returns:
        batches of (number, verdict).
    """
    if isinstance(judge, ServedJudge):
        return judge.stream(missing(items, known))
    if isinstance(judge, BatchJudge):
        return answer_chunks(judge.in_batches, items, known, chunk)
    return answer_chunks(at_once(judge.judge), items, known, chunk)
