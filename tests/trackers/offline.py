"""Trackers that write into a test's own folder, and what they have written.

wandb's files are read without wandb, but for the definition of its messages.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bfpo_bench.common.processes import environment
from bfpo_bench.trackers.in_mlflow import MlflowRun

BLOCK, HEADER = 32_768, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder, which is the current one too; nothing is known of who runs the tests."""
    wandb = pytest.importorskip("wandb")
    pytest.importorskip("mlflow")
    for name in os.environ:
        if name.startswith(("WANDB", "MLFLOW")):
            monkeypatch.delenv(name)
    for name, value in {
        "HOME": str(tmp_path),
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(tmp_path),
        "MLFLOW_TRACKING_URI": f"file:{tmp_path}/mlruns",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    # It keeps the settings that it finds first.
    wandb.teardown()
    yield tmp_path
    wandb.teardown()


def experiment(name: str = "bfpo-bench") -> list[Any]:
    """All runs of an experiment of mlflow's."""
    from mlflow import MlflowClient

    with environment(dict(MlflowRun.variables)):
        client = MlflowClient()
        found = client.get_experiment_by_name(name)
        return [] if found is None else list(client.search_runs([found.experiment_id]))


class Run(NamedTuple):
    """A run as its file tells it."""

    id: str
    name: str
    project: str
    job: str
    config: dict[str, Any]
    summary: dict[str, Any]
    history: list[dict[str, Any]]
    exit_code: int | None
    folder: Path


def runs(place: Path) -> list[Run]:
    """All that lie in a folder of wandb's, the oldest first."""
    files = place.glob("wandb/offline-run-*/run-*.wandb")
    return [_read(file) for file in sorted(files, key=lambda file: file.stat().st_mtime_ns)]


def _read(file: Path) -> Run:
    from wandb.proto.wandb_internal_pb2 import Record

    about: Any = None
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history, code = [], None
    for data in _records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            about = record.run
            config |= _values(about.config.update)
        if record.HasField("config"):
            config |= _values(record.config.update)
        if record.HasField("summary"):
            summary |= _values(record.summary.update)
        if record.HasField("history"):
            history.append(_values(record.history.item))
        if record.HasField("exit"):
            code = record.exit.exit_code
    about_texts = (about.run_id, about.display_name, about.project, about.job_type)
    return Run(*about_texts, config, summary, history, code, file.parent)


def _values(items: Any) -> dict[str, Any]:
    return {
        "/".join([item.key] if item.key else item.nested_key): json.loads(item.value_json)
        for item in items
    }


def _records(data: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's layout, which begins with seven bytes of wandb's own."""
    assert data[:4] == b":W&B"
    at, parts = HEADER, b""
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        piece = data[at + HEADER : at + HEADER + size]
        at += HEADER + size
        parts = piece if kind in (FULL, FIRST) else parts + piece
        if kind in (FULL, LAST):
            yield parts
