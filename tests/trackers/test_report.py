"""Reporting: refused before any work where it cannot be, and never in the way of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import psutil
import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.trackers import Reports, Subject, Table, check_trackers, in_wandb, report
from tests.trackers.offline import experiment, runs

SUBJECT = Subject("train", "mine", ["here"], {"a": {"b": 1, "long": "x" * 7000}, "c": None})
WANTED = ("wandb", "mlflow")


@pytest.mark.parametrize(
    ("tracker", "variables", "sentence"),
    [
        ("wandb", {"WANDB_MODE": ""}, r"wandb has no API key for https://.*; run `wandb login`, "),
        ("wandb", {"WANDB_MODE": "ofline"}, r"wandb cannot be reported to \(.*; mend its settings"),
        ("mlflow", {"MLFLOW_TRACKING_URI": ""}, r"not told where its runs are.*a folder, such as"),
        ("mlflow", {"MLFLOW_TRACKING_URI": "ftp://me:sesame@x"}, r"mlflow cannot be reported to"),
    ],
)
def test_settings_that_lead_nowhere(
    offline: Path,
    monkeypatch: pytest.MonkeyPatch,
    tracker: str,
    variables: dict[str, str],
    sentence: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(BadInput, match=sentence) as told:
        check_trackers([tracker])
    assert "sesame" not in str(told.value)


# A folder named wandb, which wandb itself makes in the current one, is found as a package too.
@pytest.mark.parametrize("found", [None, ModuleSpec("wandb", None)])
def test_a_package_that_is_not_there(found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "find_spec", lambda name: found)
    with pytest.raises(BadInput, match=r"run `pip install 'bfpo-bench\[wandb\]'`, or leave it out"):
        check_trackers(["wandb"])


def test_names_of_trackers() -> None:
    assert EvaluateOptions("m", report_to="wandb, mlflow,wandb").report_to == WANTED
    with pytest.raises(BadInput, match=r"unknown tracker 'wandbb'; did you mean 'wandb'\?"):
        EvaluateOptions("m", report_to="mlflow,wandbb")


def test_curves_go_on_where_they_broke_off(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is seen of a run by mlflow's client is what was given, each point once."""
    from mlflow import MlflowClient

    points = [(step, {"train/loss": 1 / step}) for step in range(1, 6)]
    reports = Reports(WANTED, SUBJECT, Progress(False))
    reports.begin()
    for point in points[:3]:
        reports.log(point)
    with pytest.raises(KeyboardInterrupt), reports:
        raise KeyboardInterrupt
    [run] = experiment()
    assert run.info.status == "KILLED"
    assert run.info.end_time is not None
    reports = Reports(WANTED, SUBJECT, Progress(False))
    reports.begin()
    [run] = experiment()
    assert run.info.status == "RUNNING"
    # From a checkpoint that lies before the last point.
    for point in points[1:]:
        reports.log(point)
    reports.finish({"train_loss": 0.5}, {"t": Table(["a", "b"], [[1, None], ["x", 2.5]])}, points)
    Reports(WANTED, SUBJECT, Progress(False)).finish({"train_loss": 0.5}, curves=points)
    [run] = experiment()
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"train/loss": 0.2, "train/global_step": 5, "train_loss": 0.5}
    assert run.data.params == {"a.b": "1", "a.long": "x" * 500, "c": "null"}
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient()
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert {(one.step, one.value) for one in history} == {(n, v["train/loss"]) for n, v in points}
    assert len(client.get_metric_history(run.info.run_id, "train_loss")) == 1
    file = Path(client.download_artifacts(run.info.run_id, "config.json"))
    assert json.loads(file.read_text()) == SUBJECT.config
    frame = client.load_table(run.info.experiment_id, "t.json", [run.info.run_id])
    assert frame.to_dict("list")["a"] == [1, "x"]
    # Offline nothing can be looked up, so each session has a file; all are of one run.
    held = runs(offline)
    assert {one.id for one in held} == {SUBJECT.key}
    assert [one.exit_code for one in held] == [1, 0, 0]
    told = {(e["train/global_step"], e["train/loss"]) for e in held[1].history if "train/loss" in e}
    assert told == {(n, v["train/loss"]) for n, v in points[1:]}
    assert held[1].summary["train_loss"] == 0.5


def test_what_has_changed_since(offline: Path) -> None:
    """A parameter of mlflow's cannot be written again."""
    Reports(["mlflow"], SUBJECT, Progress(False)).finish({})
    later = Subject("train", "mine", ["here"], {"a": {"b": 2}, "d": "new"})
    Reports(["mlflow"], later, Progress(False)).finish({})
    [run] = experiment()
    assert (run.data.params["a.b"], run.data.tags["a.b"]) == ("1", "2")
    assert run.data.params["d"] == "new"


def test_names_that_are_no_utf_8(offline: Path) -> None:
    """MLflow would leave half a run, which no command after that could search for its own."""
    folder = os.fsdecode(b"m\xff")
    subject = Subject("evaluate", folder, [folder], {"run_directory": folder, "tasks": [folder]})
    table = {"t": Table([folder, "x"], [[folder, None]])}
    for _ in range(2):
        Reports(WANTED, subject, Progress(False)).finish({"n": 1}, table)
    [run] = experiment()
    assert (run.info.run_name, run.data.params["run_directory"]) == ("m\\udcff", "m\\udcff")
    assert {(one.id, one.config["tasks"][0]) for one in runs(offline)} == {
        (subject.key, "m\\udcff")
    }


def test_a_name_of_ones_own(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    Reports(WANTED, SUBJECT, Progress(False)).finish({"n": 1})
    assert len(experiment("theirs")) == 1
    assert not experiment()
    [run] = runs(offline)
    assert run.project == "theirs"


def test_a_server_that_is_not_there(
    offline: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))  # it stays taken, and nobody listens
        port = place.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:sesame@127.0.0.1:{port}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("WANDB_API_KEY", "5e5a3e" * 7)
        monkeypatch.setattr(in_wandb, "WAIT", 1.0)
        check_trackers(WANTED)
        Reports(WANTED, SUBJECT, Progress(False)).finish({"n": 1})
    said = [record.getMessage() for record in caplog.records if "bfpo_bench" in record.name]
    assert len(said) == 2
    for name, sentence in zip(WANTED, said, strict=True):
        assert sentence.startswith(f"{name} was not reported to (")
        assert sentence.endswith("all is stored here, and the same command again reports it.")
        assert "sesame" not in sentence
        assert "5e5a3e" not in sentence


def test_a_command_that_is_killed_leaves_no_process(offline: Path) -> None:
    code = (
        "import sys, time; from bfpo_bench.trackers import *\n"
        "assert not {'wandb', 'mlflow'} & sys.modules.keys()\n"
        "from bfpo_bench.common.progress import Progress\n"
        "Reports(['wandb'], Subject('evaluate', 'x', 0, {}), Progress(False)).begin()\n"
        "print('here', flush=True); time.sleep(60)"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "here\n"
    services = psutil.Process(command.pid).children(recursive=True)
    assert any(alive(service) and "wandb" in service.name() for service in services)
    command.send_signal(signal.SIGKILL)
    command.wait()
    deadline = time.monotonic() + 60
    while any(map(alive, services)):
        assert time.monotonic() < deadline, "a process of wandb has outlived the command"
        time.sleep(0.05)


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
