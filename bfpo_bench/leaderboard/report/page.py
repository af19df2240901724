"""What the page says of rows and runs, laid out for ``page.html.jinja``.

Names of models, paths and settings are untrusted: the template escapes whatever it is given, and
`visible` (:mod:`.escaping`) names the characters that nobody would see. What a model wrote never
passes through here; it travels as data (:mod:`.samples`) and becomes text nodes in the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from bfpo_bench.common.dotted import dotted
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.paths import short_paths
from bfpo_bench.leaderboard.column_sets import choose_columns, headline
from bfpo_bench.leaderboard.columns import CROWS_PAIRS_DISTANCE, Column
from bfpo_bench.leaderboard.ranking import blocks, ordered, ranks, said, unlike, unranked
from bfpo_bench.leaderboard.render.table import Notes
from bfpo_bench.leaderboard.report.escaping import named
from bfpo_bench.leaderboard.rows import Badge, Cell, Entry
from bfpo_bench.leaderboard.runs import open_run, training_record
from bfpo_bench.run.run_json import read_run

_GROUPS = {
    "average": "Averages",
    "helpfulness": "Helpfulness",
    "disc": "Harmlessness: choosing",
    "gen": "Harmlessness: answering",
    **dict.fromkeys(("harm", "answ", "apart"), "Balance"),
}
"""Titles over columns; a group that has none here goes by its own name."""

_HINTS = {
    "higher": "higher is better",
    "lower": "lower is better",
    "nearer-50": "nearest to 50 is best; enters Disc. as it is",
    "neither": "neither high nor low is better by itself",
}
_OF_TASK = ("version", "metric", "chat_template", "generation")
_OF_ALSO = ("version", "examples", "chat_template", "data")
_OF_TRAINING = ("method", "recipe", "base", "data", "updates", "trained_parameters", "processes")


# ------------------------------------------------------------------------- the table


class _Shown(NamedTuple):
    """A cell of the table; none where the row has no such number."""

    cell: Cell | None
    kind: str
    place: str
    notes: tuple[int, ...]
    known: str


class _Row(NamedTuple):
    entry: Entry
    source: str
    badges: tuple[Badge, ...]
    notes: tuple[int, ...]
    cells: list[_Shown]


def table(entries: Sequence[Entry], which: str = "usual") -> dict[str, Any]:
    """Heads with their groups, blocks of rows and notes, in the order of every other format.

    What a page shows where room is scarce stands first. Rows that failed their check come last.

    Args:
        which: the set of columns that stands first.
    """
    first = headline(entries, which)
    there = {key for entry in entries if entry.kind != "baseline" for key in entry.cells}
    shown_first = {column.key for column in first}
    every = (
        column
        for name in ("usual", "balance")
        for column in choose_columns(entries, True, False, name)
    )
    rest = {column.key: column for column in every if column.key in there - shown_first}
    columns = [*first, *rest.values()]
    kinds = {column.key: "summary" if column in first else "task" for column in columns}
    short = short_paths(path for entry in entries for path in directories(entry))
    notes = Notes()

    def row(entry: Entry, block: _Ranked) -> _Row:
        found = [*entry.badges, *block.badges(entry)]
        said = {f"{badge.name}: {badge.why}" for badge in found} | {badge.why for badge in found}
        marks = [mark for mark in (*entry.marks, *block.said(entry)) if mark not in said]
        cells = [shown(entry, column, block) for column in columns]
        return _Row(entry, _source(entry, short), tuple(found), notes.of(marks), cells)

    def shown(entry: Entry, column: Column, block: _Ranked) -> _Shown:
        cell, kind = entry.cells.get(column.key), kinds[column.key]
        if cell is None:
            return _Shown(None, kind, "", (), "")
        known = [f"{cell.n:,} items"] if cell.n is not None else []
        known += [f"measured with {cell.protocol.text()}"] if cell.protocol.parts else []
        place, why = block.of(entry, column)
        return _Shown(cell, kind, place, notes.of([*cell.marks, *why]), "; ".join(known))

    found = [
        (title, [row(entry, ranked) for entry in ranked.rows])
        for title, block in blocks(entries).items()
        for ranked in [_Ranked(ordered(block, None, columns), columns, first)]
    ]
    faulty = [entry for entry in entries if entry.fault is not None]
    if faulty:
        nobody = _Ranked([], columns, first)
        found.append(("Left out of the ranking", [row(entry, nobody) for entry in faulty]))
    groups = [(title, list(some)) for title, some in groupby(columns, _group)]
    return {
        "groups": [(title, kinds[some[0].key], len(some)) for title, some in groups],
        "heads": [(one, kinds[one.key], _HINTS[one.direction]) for one in columns],
        "blocks": found,
        "notes": notes.numbers,
    }


class _Ranked:
    """What :mod:`bfpo_bench.leaderboard.ranking` says of a block."""

    def __init__(
        self, rows: Sequence[Entry], columns: Sequence[Column], first: Sequence[Column]
    ) -> None:
        self.rows = rows
        self._places = {column.key: ranks(rows, column) for column in columns}
        self._unlike = {column.key: unlike(rows, column) for column in columns}
        self._unranked = unranked(rows, first)
        self._said = said(rows)

    def badges(self, entry: Entry) -> list[Badge]:
        why = self._unranked.get(id(entry))
        return [] if why is None else [Badge("unranked", why)]

    def said(self, entry: Entry) -> list[str]:
        return [self._said[id(entry)]] if id(entry) in self._said else []

    def of(self, entry: Entry, column: Column) -> tuple[str, list[str]]:
        """Whether a cell is the best or the second of its block, and why it is not ranked."""
        row = id(entry)
        place = ("", "best", "second")[self._places[column.key].get(row, 0)]
        why = self._unlike[column.key].get(row)
        return place, [] if why is None else [why]


def _source(entry: Entry, short: Mapping[Path, str]) -> str:
    """Which folders a row is of; the title of its block says it of a published one."""
    names = [short[path] for path in directories(entry)]
    more = f" and {len(names) - 2} more" if len(names) > 3 else ""
    return ", ".join(names[:2] if more else names) + more


def _group(column: Column) -> str:
    group = "disc" if column is CROWS_PAIRS_DISTANCE else column.group
    if column.share is not None and column.task is None:
        group = "average"
    return _GROUPS.get(group, group.capitalize())


# -------------------------------------------------------------------------- the runs


def directories(entry: Entry) -> tuple[Path, ...]:
    """The run directories of a row."""
    return entry.runs or ((entry.run,) if entry.run is not None else ())


def run_names(entries: Sequence[Entry]) -> dict[Path, str]:
    """How runs are called: as their row, with the folder where a row has several runs."""
    short = short_paths(path for entry in entries for path in directories(entry))
    return {
        path: named(entry.name if len(paths) == 1 else f"{entry.name} · {short[path]}")
        for entry in entries
        for paths in [directories(entry)]
        for path in paths
    }


def boxes(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Of each run directory its name, path, fault, remarks and tables of settings."""
    names = run_names(entries)
    return [_box(entry, path, names[path]) for entry in entries for path in directories(entry)]


def _box(entry: Entry, path: Path, name: str) -> dict[str, Any]:
    box: dict[str, Any] = {"name": name, "path": path, "fault": entry.fault}
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
        ("Settings", ("Setting", "Value"), _settings(identity)),
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
        ("Versions", ("Package", "Version"), _settings(packages)),
        ("Machine", ("Property", "Value"), _settings(environment)),
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
    return _settings({name: record[name] for name in _OF_TRAINING if name in record})


def _settings(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Nested settings as rows: ``("model.name", "zephyr")``."""
    return [(name, _said(value)) for name, value in dotted(content)]


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
