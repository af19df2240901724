"""What the page says of rows and runs, laid out for ``page.html.jinja``.

Names of models, paths and settings are untrusted: the template escapes whatever it is given, and
`visible` names the characters that nobody would see. What a model wrote never passes through here;
it travels as data (:mod:`.samples`) and becomes text nodes in the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from bfpo_bench.common.errors import BadInput
from bfpo_bench.leaderboard.columns import GEN, GEN_CORRECTED, SAVG, SUMMARY, Column
from bfpo_bench.leaderboard.ranking import block_of, blocks, by_savg, said, unlike
from bfpo_bench.leaderboard.render.table import Notes
from bfpo_bench.leaderboard.rows import Cell, Entry, choose_columns
from bfpo_bench.leaderboard.runs import open_run, training_record
from bfpo_bench.run.run_json import read_run

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff]"
)
"""Characters that show nothing or turn the direction of others; text.js has the same list."""

_SUMMARY_KEYS = {column.key for column in SUMMARY}
_HINTS = {
    "higher": "higher is better",
    "lower": "lower is better",
    "nearer-50": "nearest to 50 is best; enters Disc. as it is",
}
_OF_TASK = ("version", "metric", "chat_template", "generation")
_OF_ALSO = ("version", "examples", "chat_template", "data")
_OF_TRAINING = ("method", "recipe", "base", "data", "updates", "trained_parameters", "processes")


def visible(value: object) -> str:
    """A value as text, unseen characters by their codes."""
    return UNSEEN.sub(lambda match: f"U+{ord(match[0]):04X}", str(value))


# ------------------------------------------------------------------------- the table


class _Shown(NamedTuple):
    """A cell of the table; none where the row has no such number."""

    cell: Cell | None
    kind: str
    notes: tuple[int, ...]
    known: str


def table(entries: Sequence[Entry]) -> dict[str, Any]:
    """Groups of heads, heads, rows and notes: best Savg. first, faulty rows last."""
    there = {key for entry in entries for key in entry.cells} | _SUMMARY_KEYS
    columns = [column for column in choose_columns(entries, full=True) if column.key in there]
    ordered = sorted(entries, key=lambda one: (one.fault is not None, by_savg(one)))
    marks: dict[tuple[int, str], str] = {}
    for block in blocks(ordered).values():
        marks |= {(row, ""): mark for row, mark in said(block).items()}
        for column in columns:
            marks |= {(row, column.key): mark for row, mark in unlike(block, column).items()}
    notes = Notes()

    def numbers(entry: Entry, own: Sequence[str], key: str = "") -> tuple[int, ...]:
        more = marks.get((id(entry), key))
        return notes.of([*own, *([more] if more else [])])

    def shown(entry: Entry, column: Column) -> _Shown:
        cell = entry.cells.get(column.key)
        if cell is None:
            return _Shown(None, _kind(column), (), "")
        known = [f"{cell.n:,} items"] if cell.n is not None else []
        known += [f"measured with {cell.protocol.text()}"] if cell.protocol.parts else []
        own = numbers(entry, cell.marks, column.key)
        return _Shown(cell, _kind(column), own, "; ".join(known))

    groups = [(title, list(members)) for title, members in groupby(columns, key=_group)]
    return {
        "groups": [(title, _kind(some[0]), len(some)) for title, some in groups],
        "heads": [(column, _kind(column), _HINTS[column.direction]) for column in columns],
        "rows": [
            (
                entry,
                block_of(entry),
                numbers(entry, entry.marks),
                [shown(entry, column) for column in columns],
            )
            for entry in ordered
        ],
        "notes": notes.numbers,
    }


def _group(column: Column) -> str:
    if column.group == "helpfulness":
        return "Helpfulness"
    if column.group == "also":
        return "Also"
    if column is SAVG:
        return "Overall"
    if {column.key, column.group} & {"harm", "answ", "apart"}:
        return "Balance"
    answering = column.group == "gen" or column in (GEN, GEN_CORRECTED)
    return f"Harmlessness: {'answering' if answering else 'choosing'}"


def _kind(column: Column) -> str:
    return "summary" if column.key in _SUMMARY_KEYS else "task"


# -------------------------------------------------------------------------- the runs


def directories(entry: Entry) -> tuple[Path, ...]:
    """The run directories of a row."""
    return entry.runs or ((entry.run,) if entry.run is not None else ())


def run_name(entry: Entry, path: Path) -> str:
    """How a run is called: as its row, with the folder where a row has several runs."""
    return entry.name if len(directories(entry)) == 1 else f"{entry.name} · {path.name}"


def boxes(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Of each run directory its name, path, fault, remarks and tables of settings."""
    return [_box(entry, path) for entry in entries for path in directories(entry)]


def _box(entry: Entry, path: Path) -> dict[str, Any]:
    box: dict[str, Any] = {"name": run_name(entry, path), "path": path, "fault": entry.fault}
    try:
        content = read_run(path)
    except BadInput as error:
        return box | {"problem": error}
    remarks = dict.fromkeys(entry.marks)
    try:
        # Those of the judge whose verdicts the row shows.
        results = open_run(path, entry.judge).results
    except BadInput:
        pass
    else:
        remarks |= dict.fromkeys(results.marks)
        for task in results.tasks.values():
            remarks |= dict.fromkeys(f"{task.column}: {mark}" for mark in task.marks)
    tables = [table for table in _tables(content, path) if table[2]]
    return box | {"remarks": list(remarks), "tables": tables}


def _tables(content: dict[str, Any], path: Path) -> list[tuple[str, tuple[str, ...], list[Any]]]:
    """Caption, heads and rows of each."""
    identity = dict(content["identity"])
    tasks, data, also = identity.pop("tasks"), identity.pop("data"), identity.pop("also", {})
    environment = dict(content.get("environment") or {})
    packages = environment.pop("packages", None) or {}
    return [
        ("Settings", ("Setting", "Value"), _flat(identity)),
        (
            "Tasks",
            ("Task", "Version", "Metric", "Chat template", "Generation"),
            [(name, *(_said(task.get(part)) for part in _OF_TASK)) for name, task in tasks.items()],
        ),
        (
            "Also",
            ("lm-eval's task or group", "Version", "Examples", "Chat template", "Data"),
            [(name, *(_said(one.get(part)) for part in _OF_ALSO)) for name, one in also.items()],
        ),
        (
            "Data",
            ("Source", "Variant", "Digest"),
            [(name, _said(d.get("variant")), _said(d.get("digest"))) for name, d in data.items()],
        ),
        ("Versions", ("Package", "Version"), _flat(packages)),
        ("Machine", ("Property", "Value"), _flat(environment)),
        (
            "Sessions",
            ("Session", "Started", "Seconds"),
            [
                (number, _said(session.get("started")), _said(session.get("seconds")))
                for number, session in enumerate(content["sessions"], 1)
            ],
        ),
        ("Training", ("Setting", "Value"), _training(path)),
    ]


def _training(path: Path) -> list[tuple[str, str]]:
    """How the model was trained, where its record lies in the run."""
    record = training_record(path)
    return _flat({name: record[name] for name in _OF_TRAINING if name in record})


def _flat(content: Mapping[str, Any], at: str = "") -> list[tuple[str, str]]:
    """Nested settings as rows: ``("model.name", "zephyr")``."""
    rows: list[tuple[str, str]] = []
    for name, value in content.items():
        path = f"{at}.{name}" if at else str(name)
        nested = isinstance(value, dict) and bool(value)
        rows += _flat(value, path) if nested else [(path, _said(value))]
    return rows


def _said(value: Any) -> str:
    """A JSON value as a reader likes to see it."""
    if value is None or value in ({}, []):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(part)}" for name, part in value.items())
    return repr(value) if isinstance(value, str) and value != value.strip() else str(value)
