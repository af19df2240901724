"""Rankers: which of two responses is more helpful? See docs/redteam.md."""

from bfpo_bench.rankers.load import choose_ranker
from bfpo_bench.rankers.protocol import (
    ChosenRanker,
    Comparison,
    Ranker,
    RankerOptions,
    Ranking,
    rank_all,
)

__all__ = [
    "ChosenRanker",
    "Comparison",
    "Ranker",
    "RankerOptions",
    "Ranking",
    "choose_ranker",
    "rank_all",
]
