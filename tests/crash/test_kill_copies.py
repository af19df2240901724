"""kill -9 of copies of a model, and of the command that has them: nothing is lost, nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.attempts import Attempt, Driver
from tests.crash.killing import Options, assert_nothing_survives, contents, finish, kill

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.slow


def test_killed_in_every_stage(driver: Driver, options: Options, tmp_path: Path) -> None:
    """Equal field by field to a run of one process that nobody disturbed."""
    options = {**options, "tasks": ["toxigen", "advbench", "alert"], "limit": 12}
    whole = {**options, "output": str(tmp_path / "whole")}
    expected = finish(driver, whole)
    copied = {**options, "output": str(tmp_path / "copied"), "data_parallel_size": 2}
    # A copy while it scores, then the command while it responds.
    lost = kill(
        driver,
        Attempt(copied, at=("responses", 2, "inside"), lose=(("scores", 2),)),
    )
    assert_nothing_survives(lost)
    # A copy while it responds, and one while it judges.
    outcome = driver.run(Attempt(copied, lose=(("responses", 2), ("verdicts", 2))))
    assert outcome.code == 0, outcome.errors
    assert_nothing_survives(outcome)
    assert outcome.errors.count("What it had not answered is done again.") == 2
    # Killed at the second write of responses: one is stored, no score is asked again.
    assert "scores" not in outcome.writes
    assert outcome.answers < expected.answers
    assert contents(tmp_path / "copied") == contents(tmp_path / "whole")
