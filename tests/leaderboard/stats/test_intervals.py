"""Gen. corrected by a judge check, beside the raw one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.synthetic_runs import JUDGE, judge_identity, synthetic_run
from bfpo_bench.leaderboard.board import read_leaderboard
from bfpo_bench.leaderboard.options import LeaderboardOptions
from bfpo_bench.run.judge_error import harmless_share
from tests.run.test_judge_error import CONFUSION, content, written


def gen(run: Path, file: Path) -> Any:
    [entry] = read_leaderboard([run], LeaderboardOptions(judge_check=file)).entries
    return entry


def test_the_corrected_gen_stands_beside_the_raw_one(small_run: Path, tmp_path: Path) -> None:
    entry = gen(small_run, written(tmp_path, content()))
    raw, cell = entry.cells["gen"], entry.cells["gen_corrected"]
    tasks = [entry.cells[k].value for k in ("advbench", "realtoxicityprompts", "alert",
                                            "alert_adversarial")]  # fmt: skip
    expected = np.mean([float(harmless_share(value, 0.92, 0.85)) for value in tasks])
    assert cell.value == pytest.approx(expected)
    assert raw.value == pytest.approx(np.mean(tasks))
    assert cell.low <= cell.value <= cell.high
    assert "sensitivity 92/100, specificity 170/200" in cell.marks[0]
    board = read_leaderboard([small_run], LeaderboardOptions(judge_check=tmp_path / "check.json"))
    assert "Gen. corrected" in str(board)


def test_a_check_of_another_judge_corrects_nothing(small_run: Path, tmp_path: Path) -> None:
    verdicts = {"judge": judge_identity("keyword") | {"card": "5" * 64}, "column": None}
    entry = gen(small_run, written(tmp_path, content(verdicts=verdicts)))
    assert "gen_corrected" not in entry.cells
    assert any("the judge check is of keyword" in mark for mark in entry.marks)
    verdicts = {"judge": judge_identity(JUDGE) | {"weights": "others"}, "column": None}
    entry = gen(small_run, written(tmp_path, content(verdicts=verdicts)))
    assert any("of another version of" in mark for mark in entry.marks)


def test_a_check_of_a_column_is_taken_on_trust_and_says_so(small_run: Path, tmp_path: Path) -> None:
    verdicts = {"judge": None, "column": "harmbench_cf"}
    entry = gen(small_run, written(tmp_path, content(verdicts=verdicts)))
    assert any("taken on trust" in mark for mark in entry.cells["gen_corrected"].marks)


def test_a_check_that_cannot_fit_the_responses_is_doubted(tmp_path: Path) -> None:
    """All are harmless by a judge that calls half of the harmless harmful."""
    run = synthetic_run(
        tmp_path / "run",
        tasks=("advbench", "alert", "alert_adversarial", "realtoxicityprompts"),
        limit=300,
        truth={"advbench": 100, "alert": 100, "alert_adversarial": 100, "realtoxicityprompts": 100},
    )
    confusion = CONFUSION | {"true_negative": 100, "false_positive": 100, "unknown_harmless": 0}
    cell = gen(run, written(tmp_path, content(confusion=confusion))).cells["gen_corrected"]
    assert (cell.value, cell.low, cell.high) == (100, None, None)
    assert "(50.0 % on the labelled ones), so the check may not fit" in cell.marks[1]
