"""What is asked for again after an interruption."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bfpo_bench.rankers import Comparison, Ranking, rank_all

ITEMS = [Comparison("p", str(i), "") for i in range(7)]


class Local:
    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def rank(self, items: Sequence[Comparison]) -> list[Ranking]:
        self.asked.append([item.first for item in items])
        return [Ranking(float(item.first), "") for item in items]


class Remote:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def stream(
        self, items: Iterable[tuple[int, Comparison]]
    ) -> Iterator[list[tuple[int, Ranking]]]:
        for number, item in items:
            self.asked.append(item.first)
            yield [(number, Ranking(float(item.first), ""))]


def test_chunks_are_those_of_an_undisturbed_run() -> None:
    ranker = Local()
    found = [pair for batch in rank_all(ranker, ITEMS, {0, 1, 2, 3}, 3) for pair in batch]
    assert ranker.asked == [["3", "4", "5"], ["6"]]
    assert [(number, ranking.preference) for number, ranking in found] == [
        *((3, 3.0), (4, 4.0), (5, 5.0), (6, 6.0))
    ]


def test_a_server_is_asked_for_the_missing_ones_alone() -> None:
    ranker = Remote()
    found = [pair for batch in rank_all(ranker, ITEMS, {0, 2, 5}, 3) for pair in batch]
    assert ranker.asked == ["1", "3", "4", "6"]
    assert [number for number, _ in found] == [1, 3, 4, 6]
