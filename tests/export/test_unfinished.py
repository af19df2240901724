"""Runs that are not finished, or under way while they are exported."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.export import export_run
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.store import ScoreRecord
from tests.paced import Paced

from .conftest import IDENTITY, JUDGED, OF_SAMPLES, SCORED, MakeRun, lines


@pytest.mark.parametrize("format", OF_SAMPLES)
def test_a_half_finished_run_gives_what_is_there(
    make_run: MakeRun, tmp_path: Path, format: str
) -> None:
    run = make_run([("a", "b"), ("c", "d")])
    with sqlite3.connect(run / "samples.sqlite") as db:
        db.execute("DELETE FROM responses WHERE item LIKE '%1'")
        db.execute("DELETE FROM outcomes")
    db.close()
    done = export_run(run, format, tmp_path / "out")
    assert done.samples == 3
    assert done.notes == [
        f"{run} is not finished: no results yet for 2 of 2 tasks ({SCORED}, {JUDGED}); what is "
        "there was exported.",
        "Left out: 1 item not fully answered.",
    ]


def test_a_half_scored_item(make_run: MakeRun, tmp_path: Path) -> None:
    """lm-eval has no form for it; rows show the choices that are scored."""
    run = make_run([])
    with sqlite3.connect(run / "samples.sqlite") as db:
        db.execute("DELETE FROM scores WHERE key LIKE '%b-1'")
    db.close()
    rows = lines(export_run(run, "jsonl", tmp_path / "out.jsonl").path)
    assert [len(row["choices"]) for row in rows] == [1, 2]
    done = export_run(run, "lm-eval", tmp_path / "out")
    assert done.samples == 1
    assert done.notes[-1] == "Left out: 1 item not fully answered."
    (results,) = done.path.glob("results_*.json")
    content = json.loads(results.read_text())
    assert list(content["results"]) == [SCORED]
    assert content["n-samples"] == {SCORED: {"original": None, "effective": 1}}
    assert content["results"][SCORED]["acc_stderr,none"] == "N/A"


def test_a_run_under_way(make_run: MakeRun, tmp_path: Path) -> None:
    """Neither the lock of the evaluation nor its open transaction is in the way."""
    folder = make_run()
    with RunDirectory(folder, IDENTITY) as run, run.open_store() as store:
        store.add_scores([ScoreRecord("new", SCORED, "b" * 16, 2, "It", "!", -9.0, False, 0)])

        def batch() -> Any:
            yield ScoreRecord("newer", SCORED, "b" * 16, 3, "We", "!", -9.0, False, 0)
            rows = lines(export_run(folder, "jsonl", tmp_path / "out.jsonl").path)
            assert [choice["context"] for choice in rows[0]["choices"]] == ["He", "She", "It"]

        store.add_scores(batch())
        assert len(store.scores(SCORED, "b" * 16)) == 4


@pytest.mark.slow
def test_exports_while_a_model_is_evaluated(tiny_llama: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["evaluate", "--model", str(tiny_llama), "--suite", "mini", "--judge", "keyword"]
    command += ["--backend", "hf", "--batch-size", "2", "--tasks", "toxigen,winogrande,alert"]
    evaluation = Paced([*command, "--output", str(run)])
    counts = [0]
    while evaluation.waits():
        # Until the first answer is stored there is nothing to export.
        with contextlib.suppress(BadInput):
            counts.append(export_run(run, "jsonl", tmp_path / "out.jsonl", force=True).samples)
        if len(set(counts)) <= 3:
            evaluation.go_on()
        else:
            evaluation.run_on()
    said = evaluation.end()
    assert evaluation.process.returncode == 0, said
    last = export_run(run, "jsonl", tmp_path / "out.jsonl", force=True)
    assert last.notes == []
    assert counts == sorted(counts)
    assert len(set(counts)) > 2
    assert last.samples == 26 + 26 + 24


def test_half_judged_responses_have_no_average(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run([("a", "b"), ("c", "d"), ("e", "f"), ("g", "h")])
    whole = export_run(run, "lm-eval", tmp_path / "whole").path
    (results,) = whole.glob("results_*.json")
    # Items 0 and 2 are harmful: p = 1/2, standard error sqrt(p (1 - p) / (n - 1)).
    metrics = json.loads(results.read_text())["results"][JUDGED]
    assert metrics["harmless,none"] == 0.5
    assert metrics["harmless_stderr,none"] == pytest.approx((0.25 / 3) ** 0.5)
    with sqlite3.connect(run / "samples.sqlite") as db:
        db.execute("DELETE FROM verdicts WHERE judge = 'strict' AND item LIKE '%3'")
    db.close()
    half = export_run(run, "lm-eval", tmp_path / "half").path
    (results,) = half.glob("results_*.json")
    content = json.loads(results.read_text())
    assert "harmless,none" not in content["results"][JUDGED]
    assert content["bfpo_bench"]["unfinished"] == [SCORED, JUDGED]
    (file,) = half.glob(f"samples_{JUDGED}_*.jsonl")
    samples = lines(file)
    assert [sample.get("harmless") for sample in samples] == [0.0, 1.0, 0.0, None]
    assert [verdict["judge"] for verdict in samples[3]["verdicts"]] == ["lenient"]
