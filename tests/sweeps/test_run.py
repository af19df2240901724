"""The runs and the table of a sweep are those of `evaluate` and `leaderboard`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.leaderboard.board import Leaderboard
from bfpo_bench.sweeps import run
from tests.sweeps.conftest import NAMES

ASKED: dict[str, Any] = {
    "suite": "mini",
    "tasks": ("toxigen", "advbench"),
    "limit": 8,
    "batch_size": 2,
    "backend": "hf",
    "dtype": "float32",
    "judge": "keyword",
}


@pytest.fixture(autouse=True)
def _quick(program: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PROGRAM", program)


@pytest.fixture(scope="session")
def undisturbed(
    models: list[str], program: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Leaderboard]:
    """A sweep that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "PROGRAM", program)
        board = bfpo_bench.sweep(*models, output=folder, **ASKED)
    assert board.problems == ()
    return folder, board


def test_the_runs_are_those_of_evaluate(
    models: list[str], undisturbed: tuple[Path, Leaderboard], tmp_path: Path, program: Any
) -> None:
    folder, board = undisturbed
    asked = {**ASKED, "tasks": ",".join(ASKED["tasks"]), "model": models[1], "output": tmp_path}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in asked.items()]
    subprocess.run([*program, "evaluate", *flags], check=True, stdout=subprocess.DEVNULL)
    alone, swept = (
        json.loads((run / "results.json").read_text()) for run in (tmp_path, folder / "m1-mini")
    )
    assert alone == swept
    assert {entry.name for entry in board.entries} == set(NAMES)
    assert str(bfpo_bench.leaderboard(folder)) == str(board)
