"""A leaderboard in trackers."""

from __future__ import annotations

import json
from pathlib import Path

import bfpo_bench
from tests.cli.program import run as program
from tests.trackers.offline import experiment, runs


def test_a_row_for_each_model(offline: Path, small_run: Path, other_run: Path) -> None:
    command = ("leaderboard", small_run, other_run, "--full", "--report-to", "wandb,mlflow")
    done = program(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Reported") == 0
    assert done.stderr.count("Reported to") == 2
    again = bfpo_bench.leaderboard(other_run, small_run, full=True, report_to="mlflow,wandb")
    frame = again.to_frame()
    [run] = experiment()
    [file] = offline.glob("mlruns/*/*/artifacts/leaderboard.json")
    held = runs(offline)
    assert len({one.id for one in held}) == 1
    [other] = (held[0].folder / "files" / "media" / "table").glob("leaderboard_*.json")
    for table in (json.loads(file.read_text()), json.loads(other.read_text())):
        assert table["columns"] == list(frame.columns)
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        assert {row["name"]: row["savg"] for row in rows} == dict(
            zip(frame["name"], frame["savg"], strict=True)
        )
        assert len(rows) == 2
    assert run.data.metrics == {"rows": 2}
    assert sorted(held[0].config["runs"]) == sorted([str(small_run), str(other_run)])
    bfpo_bench.leaderboard(small_run, report_to="mlflow")
    assert len(experiment()) == 2
