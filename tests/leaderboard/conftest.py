"""Runs that several tests read; nobody changes them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.synthetic_runs import synthetic_run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 16 tasks, 40 items each."""
    folder = tmp_path_factory.mktemp("small") / "run"
    return synthetic_run(folder, "small", limit=40, second_judge="keyword")


@pytest.fixture(scope="session")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same items, answered by another model: much better at AdvBench, worse at ALERT."""
    folder = tmp_path_factory.mktemp("other") / "run"
    truth = {"advbench": 100.0, "alert": 40.0}
    return synthetic_run(folder, "other", truth, seed=0, limit=40)


@pytest.fixture
def copy(tmp_path: Path) -> Callable[..., Path]:
    """Copies a run directory, to be damaged."""

    def copied(run: Path, name: str = "copy") -> Path:
        return Path(shutil.copytree(run, tmp_path / name))

    return copied
