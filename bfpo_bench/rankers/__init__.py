"""Rankers: which of two responses is more helpful? See docs/redteam.md."""

from bfpo_bench.rankers.batches import rank_all
from bfpo_bench.rankers.load import choose_ranker
from bfpo_bench.rankers.protocol import (
    ChosenRanker,
    Comparison,
    Ranker,
    RankerOptions,
    Ranking,
    ServedRanker,
)

__all__ = [
    "ChosenRanker",
    "Comparison",
    "Ranker",
    "RankerOptions",
    "Ranking",
    "ServedRanker",
    "choose_ranker",
    "rank_all",
]
