"""Helpfulness without an annotator, as columns of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import bfpo_bench
from bfpo_bench.helpfulness.annotation import TASK
from bfpo_bench.run.store import OutcomeRecord, Store

REWARD = "reward:armorm@12345678:helpsteer-helpfulness"


def test_rewards_and_constraints_are_columns_beside_alpaca(
    copy: Callable[..., Path], small_run: Path, other_run: Path
) -> None:
    run = copy(small_run)
    with Store(run / "samples.sqlite") as store:
        for metric, values in ((REWARD, (-1.0, 0.5, 2.0)), ("constraint_met", (1.0, 0.0, 1.0))):
            store.add_outcomes(
                OutcomeRecord(TASK, f"i{n}", metric, value) for n, value in enumerate(values)
            )
    board = bfpo_bench.leaderboard(run, other_run)
    titles = [column.title for column in board.columns]
    assert titles[0] == "Alpaca"
    assert set(titles[1:3]) == {"Constraints met", "Reward helpsteer-helpfulness"}
    assert titles[3:] == ["Disc.", "Gen.", "Savg."]
    [row, other] = board.entries
    assert row.cells[REWARD].value == pytest.approx(0.5)
    assert row.cells["constraint_met"].value == pytest.approx(200 / 3)
    low, high = row.cells[REWARD].low, row.cells[REWARD].high
    assert low is not None
    assert high is not None
    assert -1 <= low < 0.5 < high <= 2
    assert "alpaca" not in row.cells
    assert REWARD not in other.cells
    assert "not percent" in " ".join(str(board).split())
