"""What trackers are told of an evaluation: its numbers, and nothing that was asked or answered."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.synthetic_runs import synthetic_run
from bfpo_bench.common.progress import Progress
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.tracked import numbers, report_results
from bfpo_bench.run.average import Average
from bfpo_bench.run.corrected import Corrected, CorrectedShare
from bfpo_bench.run.panel import Member, Panel
from bfpo_bench.run.results_files import read_results
from tests.cli.program import run as program
from tests.trackers.offline import experiment, runs

REPORT = ("--report-to", "wandb,mlflow")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_run(tmp_path_factory.mktemp("run") / "mine", "org/mine", limit=20)


def test_both_hold_the_results(offline: Path, evaluated: Path) -> None:
    """Read back as wandb's file and mlflow's client have them; a second time updates them."""
    folder = shutil.copytree(evaluated, offline / "mine")
    options = EvaluateOptions(
        "org/mine",
        output=folder,
        report_to="mlflow,wandb",
        api_key_env="sk-sesame",
        judge_url="http://127.0.0.1:1/v1?key=sesame",
    )
    results = read_results(folder / "results.json")
    for _ in range(2):
        report_results(options, results, Progress(False))
    [there] = experiment()
    both = runs(offline)
    assert len({one.id for one in both}) == 1
    here = both[-1]
    assert (here.name, here.job, here.exit_code) == ("mine", "evaluate", 0)
    assert (there.info.run_name, there.info.status) == ("mine", "FINISHED")

    content = json.loads((folder / "results.json").read_text())
    expected = {
        f"{name}/{part}": cell[part]
        for name, cell in (content["tasks"] | content["averages"]).items()
        for part in ("score", "stderr", "low", "high", "n", "unknown")
        if cell.get(part) is not None
    }
    assert len(expected) > 16 * 4
    assert expected.items() <= there.data.metrics.items()
    assert expected.items() <= here.summary.items()
    assert there.data.metrics.keys() == numbers(results).keys()

    told = here.config
    identity = json.loads((folder / "run.json").read_text())["identity"]
    for part in ("model", "suite", "judge", "data", "seed", "limit", "backend"):
        assert told[part] == identity[part]
    assert told["run_directory"] == str(folder)
    assert told["tasks"] == {name: one["version"] for name, one in identity["tasks"].items()}
    assert f"--output={folder}" in told["options"]
    assert there.data.params["model.name"] == "org/mine"
    assert there.data.params["judge.judge"] == identity["judge"]["judge"]

    [table] = (here.folder / "files" / "media" / "table").glob("results_*.json")
    [other] = offline.glob("mlruns/*/*/artifacts/results.json")
    tables = [json.loads(file.read_text()) for file in (table, other)]
    assert tables[0]["columns"] == tables[1]["columns"]
    assert tables[0]["data"] == tables[1]["data"]
    shown = {row["task"]: row for row in table_rows(tables[1])}
    assert shown.keys() == (content["tasks"] | content["averages"]).keys()
    assert all(shown[name]["score"] == cell["score"] for name, cell in content["tasks"].items())

    files = [f for top in ("wandb", "mlruns") for f in (offline / top).rglob("*") if f.is_file()]
    everything = b"\n".join(file.read_bytes() for file in files)
    assert b"sesame" not in everything
    with sqlite3.connect(folder / "samples.sqlite") as store:
        asked = store.execute("SELECT question, response FROM responses LIMIT 50").fetchall()
    store.close()
    assert len(asked) == 50
    assert not [text for row in asked for text in row if text and text[:20].encode() in everything]


def table_rows(table: dict[str, list[list[str]]]) -> list[dict[str, str]]:
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def test_numbers_beside_the_runs_own(evaluated: Path) -> None:
    results = read_results(evaluated / "results.json")
    gen = Average(50.0, 1.0, [], 40.0, 60.0)
    none = Average(None, None, ["ALERT"])
    corrected = CorrectedShare("Gen.", 50.0, 45.5, 41.0, 50.0, 99)
    more = replace(
        results,
        panel=Panel({"a": Member({"gen": gen, "savg": none})}, [], {}),
        corrected=Corrected("m", {}, {}, {}, {"gen": corrected}, []),
    )
    told, before = numbers(more), numbers(results)
    assert {name: told[name] for name in told.keys() - before.keys()} == {
        "judges/a/gen/score": 50.0,
        "judges/a/gen/low": 40.0,
        "judges/a/gen/high": 60.0,
        "corrected/gen/score": 45.5,
        "corrected/gen/low": 41.0,
        "corrected/gen/high": 50.0,
    }


def test_another_model_in_the_same_folder_is_another_run(offline: Path, evaluated: Path) -> None:
    folder = shutil.copytree(evaluated, offline / "mine")
    options = EvaluateOptions("org/mine", output=folder, report_to="mlflow")
    results = read_results(folder / "results.json")
    content = json.loads((folder / "run.json").read_text())
    for part, value, count in (
        ("seed", 0, 1),
        ("suite", {"name": "paper+balance", "version": "1+1"}, 1),  # a later command adds to it
        ("tasks", {}, 1),
        ("seed", 7, 2),
    ):
        content["identity"][part] = value
        (folder / "run.json").write_text(json.dumps(content))
        report_results(options, results, Progress(False))
        assert len(experiment()) == count


@pytest.mark.slow
def test_the_command(offline: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracker that fails costs a sentence, and is told everything by the next command."""
    where = "http://127.0.0.1:9"  # nobody listens on the discard port
    command = ("evaluate", "--model", tiny_llama, "--suite", "mini", "--tasks", "winogrande")
    command = (*command, "--limit", "2", "--output", "out", *REPORT)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", where)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        done = program(*command)
    assert done.returncode == 0
    assert "WinoGrande" in done.stdout
    lines = [line for line in done.stderr.splitlines() if "mlflow" in line or "wandb" in line]
    assert len(lines) == 1, done.stderr
    assert "Reported to wandb: " in lines[0]
    done = program(*command)
    assert "Already finished" in done.stderr
    assert "Reported to mlflow: file:" in done.stderr
    [run] = experiment()
    score = read_results(offline / "out" / "results.json").tasks["bfpo_winogrande"].score
    assert run.data.metrics["bfpo_winogrande/score"] == score
    typo = program("evaluate", "--model", tiny_llama, "--report-to", "mlfow")
    assert (typo.returncode, typo.stdout) == (2, "")
    assert "unknown tracker 'mlfow'; did you mean 'mlflow'?" in typo.stderr
