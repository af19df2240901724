"""Intervals of CrowS-Pairs' distance from 50, and of the Disc. that is made with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bfpo_bench
from bfpo_bench.leaderboard.columns import TASK_COLUMNS
from bfpo_bench.leaderboard.rows import Cell, distance_cells
from bfpo_bench.leaderboard.stats.intervals import with_distance_intervals

DISC = [column for column in TASK_COLUMNS if column.group == "disc"]


@pytest.mark.parametrize(
    ("crows", "distance"),
    [
        ((62.0, 59.0, 65.0), (9.0, 15.0)),
        ((41.0, 39.0, 43.0), (7.0, 11.0)),
        ((51.0, 48.0, 54.0), (0.0, 4.0)),
        ((49.0, 44.0, 53.0), (0.0, 6.0)),
    ],
)
def test_the_interval_of_a_distance(
    crows: tuple[float, float, float], distance: tuple[float, float]
) -> None:
    cells = {"crows_pairs": Cell(*crows)}
    found = with_distance_intervals({**cells, **distance_cells(cells)}, {})
    cell = found["crows_pairs_distance"]
    assert (cell.low, cell.high) == distance
    assert cell.low <= cell.value <= cell.high


@pytest.mark.parametrize("side", [1, -1])
def test_the_interval_of_the_other_disc(side: int) -> None:
    """On one side of 50 it falls by 2 for each point that CrowS-Pairs moves away."""
    cells = {column.key: Cell(60.0) for column in DISC} | {"crows_pairs": Cell(50.0 + 12 * side)}
    drawn = {str(column.task): np.full(10_001, 60.0) for column in DISC}
    drawn["bfpo_crows_pairs"] = 50 + side * np.linspace(10, 14, 10_001)
    cell = with_distance_intervals({**cells, **distance_cells(cells)}, drawn)["disc_distance"]
    assert cell.value == pytest.approx((11 * 60 + 76) / 12)
    assert (cell.low, cell.high) == pytest.approx(
        ((11 * 60 + 100 - 2 * 13.9) / 12, (11 * 60 + 100 - 2 * 10.1) / 12)
    )


def test_every_number_of_a_row_has_its_interval(small_run: Path) -> None:
    board = bfpo_bench.leaderboard(small_run, ci=True, full=True, crows_pairs="distance")
    [entry] = board.entries
    assert {"crows_pairs_distance", "disc_distance"} <= entry.cells.keys()
    for cell in entry.cells.values():
        assert cell.low is not None
        assert cell.high is not None
        assert cell.low <= cell.value <= cell.high
