"""Verdicts in batches, as they come: what whoever stores them goes through."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Iterator

from bfpo_bench.judges.protocol import Exchange, Judge, ServedJudge, Verdict


def judge_all(
    judge: Judge, items: Iterable[Exchange], known: Container[int], chunk: int
) -> Iterator[list[tuple[int, Verdict]]]:
    """The verdicts that are missing, each batch as soon as it is there.

    A judge that is computed here gets `chunk` exchanges at a time, counted over *all* of them, and
    only a chunk that is known whole is left out: what is computed together, and with it every
    floating-point rounding, is then the same with and without an interruption. Verdicts that are
    known may thus come again. A judge behind a server is asked for the missing ones alone.

    Args:
        items: read as they are needed.
        known: numbers (from 0) of those whose verdicts are stored.

    Yields:
        batches of (number, verdict).
    """
    numbered = enumerate(items)
    if isinstance(judge, ServedJudge):
        yield from judge.stream(pair for pair in numbered if pair[0] not in known)
        return
    while part := list(itertools.islice(numbered, chunk)):
        if all(number in known for number, _ in part):
            continue
        verdicts = judge.judge([item for _, item in part])
        yield [(number, v) for (number, _), v in zip(part, verdicts, strict=True)]
