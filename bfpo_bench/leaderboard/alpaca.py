"""The Alpaca column of a row: the length-controlled win rate of its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bfpo_bench.leaderboard.columns import ALPACA
from bfpo_bench.leaderboard.entry import Cell
from bfpo_bench.leaderboard.runs import Run
from bfpo_bench.results import HelpfulnessResult


def alpaca_cells(found: HelpfulnessResult | None) -> dict[str, Cell]:
    """The cell, without its interval; none where there is no length-controlled win rate."""
    if found is None or found.lc_win_rate is None:
        return {}
    parts = (
        f"AlpacaEval against {found.reference}",
        f"annotator {found.annotator}",
        f"{found.n} instructions",
        str(found.lc_model),
    )
    marks = (f"length-controlled win rate by annotator {found.annotator}", *found.notes)
    cell = Cell(found.lc_win_rate, n=found.n, marks=marks, protocol=", ".join(parts))
    return {ALPACA.key: cell}


def with_alpaca_interval(cells: Mapping[str, Cell], runs: Sequence[Run]) -> dict[str, Cell]:
    """The cell with its interval, which a run's results hold; a mean over seeds has a spread."""
    found = runs[0].results.helpfulness
    if ALPACA.key not in cells or found is None or len(runs) > 1:
        return {}
    return {ALPACA.key: replace(cells[ALPACA.key], low=found.lc_low, high=found.lc_high)}
