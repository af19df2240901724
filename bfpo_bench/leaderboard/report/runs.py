"""What a run was: settings, versions and remarks, as HTML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.leaderboard.report.markup import flat, shown, table, text
from bfpo_bench.leaderboard.rows import Entry
from bfpo_bench.leaderboard.runs import open_run
from bfpo_bench.run.directory import read_run
from bfpo_bench.run.results import Results

_OF_TASK = ("version", "metric", "chat_template", "generation")


def runs_html(entries: Sequence[Entry]) -> str:
    """One closed box per run directory; a sentence when nothing was measured."""
    boxes = [_box(entry, path) for entry in entries for path in directories(entry)]
    return "".join(boxes) or "<p>Published rows only: there is no run to describe.</p>"


def directories(entry: Entry) -> tuple[Path, ...]:
    """The run directories of a row."""
    return entry.runs or ((entry.run,) if entry.run is not None else ())


def run_name(entry: Entry, path: Path) -> str:
    """How a run is called: as its row, with the folder where a row has several runs."""
    return entry.name if len(directories(entry)) == 1 else f"{entry.name} · {path.name}"


def _box(entry: Entry, path: Path) -> str:
    head = f"<summary>{text(run_name(entry, path))}</summary>"
    fault = f'<p class="fault">Left out of the ranking: {text(entry.fault)}</p>'
    try:
        content = read_run(path)
    except BadInput as error:
        return f"<details>{head}<p>{text(error)}</p></details>"
    parts = [
        f'<p class="source">{text(path)}</p>',
        fault if entry.fault else "",
        _remarks(entry, path),
        *_tables(content, path),
    ]
    return f"<details>{head}{''.join(parts)}</details>"


def _remarks(entry: Entry, path: Path) -> str:
    results = _results(path, entry.judge)
    remarks = dict.fromkeys([*entry.marks, *(results.marks if results else [])])
    if results:
        for task in results.tasks.values():
            remarks |= dict.fromkeys(f"{task.column}: {mark}" for mark in task.marks)
    items = "".join(f"<li>{text(remark)}</li>" for remark in remarks)
    return f"<h3>Remarks</h3><ul>{items}</ul>" if items else ""


def _tables(content: dict[str, Any], path: Path) -> list[str]:
    identity = dict(content["identity"])
    tasks, data = identity.pop("tasks"), identity.pop("data")
    environment = dict(content.get("environment") or {})
    packages = environment.pop("packages", None) or {}
    training = _training(path)
    return [
        table("Settings", ("Setting", "Value"), flat(identity)),
        table(
            "Tasks",
            ("Task", "Version", "Metric", "Chat template", "Generation"),
            ((name, *(shown(task.get(part)) for part in _OF_TASK)) for name, task in tasks.items()),
        ),
        table(
            "Data",
            ("Source", "Variant", "Digest"),
            ((name, shown(d.get("variant")), shown(d.get("digest"))) for name, d in data.items()),
        ),
        table("Versions", ("Package", "Version"), flat(packages)),
        table("Machine", ("Property", "Value"), flat(environment)),
        table(
            "Sessions",
            ("Session", "Started", "Seconds"),
            (
                (number, shown(session.get("started")), shown(session.get("seconds")))
                for number, session in enumerate(content["sessions"], 1)
            ),
        ),
        table("Training", ("Setting", "Value"), training),
    ]


def _results(path: Path, judge: str | None) -> Results | None:
    """Those of the judge whose verdicts the row shows."""
    try:
        return open_run(path, judge).results
    except BadInput:
        return None


def _training(path: Path) -> list[tuple[str, str]]:
    """How the model was trained, where its record lies in the run."""
    try:
        record = json.loads((path / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(record, dict):
        return []
    kept = ("method", "recipe", "base", "data", "updates", "trained_parameters", "processes")
    return flat({name: record[name] for name in kept if name in record})
