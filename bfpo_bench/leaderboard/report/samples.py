"""Every response of the runs as data files for the page's sample browser.

The same item answered by several runs is one row, so that answers and verdicts can be compared.
Rows are ordered by task and by their place in its source.

A page opened from the disk cannot fetch a file, but it can load a script. Each data file is a
script of one call, ``bfpo("NAME","DATA")``, where DATA is JSON, compressed by gzip, in base64. So
whatever a model wrote, the file has only letters, digits, ``+``, ``/`` and ``=`` between its
quotes: nothing in it can end a string, a line or a script. Files:

`index`: what can be filtered by, for all rows; texts are apart, 400 rows a file.

- ``per_chunk``, ``tasks`` (``[name, title, rows]``, in the order of the rows), ``categories`` and,
  per row, ``category`` (place in that list, -1: none);
- ``runs``: ``name``; ``frames``, the texts ``[before, after]`` a question can stand in; ``judges``,
  each with ``name``, ``annotator`` (whether it compares with a reference instead), ``verdicts``
  (one character a row: 0 harmless, 1 harmful, 2 unknown, 3 not judged, 4 not answered; an
  annotator's 5 better, 6 worse, 7 draw, 8 no usable answer), ``p``, of harm or of being better
  (thousandths, -1: none; null where no row has one), ``refusals`` (0 answered in full, 1 refused in
  part, 2 refused, 3 unknown, 4 not judged or not answered; null where it gives none), their
  ``p_refusal``, and ``harm``: whether it says what is harmful. The one whose refusals the run
  counts stands before others that give some.

`questions-K`: per row ``[item, position, question]``, and the reference's output if there is one.

`run-R-K`: per row null or ``[response, finish, seed, prompt tokens, tokens, cut tokens, prompt, raw
of each judge, own question, thought, why there is no answer]``. The prompt is a place in ``frames``
or, where the question does not stand in it, a text; the own question is null unless it differs from
the row's.
"""

from __future__ import annotations

import base64
import gzip
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from bfpo_bench.common.errors import BenchError
from bfpo_bench.helpfulness.annotation import TASK as ALPACA_TASK
from bfpo_bench.leaderboard.columns import ALPACA, COLUMN_OF_TASK
from bfpo_bench.leaderboard.report.escaping import named
from bfpo_bench.leaderboard.report.of_run import OpenRun, enter_verdicts, frame_of, judge_entry
from bfpo_bench.run.run_json import read_evaluation
from bfpo_bench.run.store import AnnotationRecord, ResponseRecord, Store, VerdictRecord, source_row
from bfpo_bench.suites import packaged_task, task_names

END = 16
"""Characters at the end of a data file: the check sum and the size of what is in it."""

ROWS_PER_CHUNK = 400
"""Samples in one file: about half a megabyte of text, a few hundredths of a second to open."""

_Record = TypeVar("_Record", ResponseRecord, VerdictRecord, AnnotationRecord)


@dataclass(frozen=True)
class _Row:
    """An item that at least one run has answered."""

    task: str
    position: int
    item: str
    category: str | None
    reference: str | None


def write_samples(
    runs: Sequence[tuple[str, Path]], folder: Path
) -> tuple[tuple[int, str], dict[Path, BenchError]]:
    """Writes the data files.

    Args:
        runs: name in the report and directory of each, in this order.
        folder: a folder for the data files alone; what is in it is removed.

    Returns:
        how many rows they hold and the end of their index; and why which runs are not in them.
    """
    problems: dict[Path, BenchError] = {}
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        left = [(name, path) for name, path in runs if path not in problems]
        if not left:
            return (0, ""), problems
        try:
            return _write(left, folder), problems
        except _Unreadable as error:
            # What is wrong may be met in its last row; the others are begun again without it.
            problems[error.run] = error.cause


class _Unreadable(Exception):
    """A run whose samples are of no use, and why."""

    def __init__(self, run: Path, cause: BenchError) -> None:
        super().__init__(run)
        self.run, self.cause = run, cause


@contextmanager
def _reading(run: Path) -> Iterator[None]:
    try:
        yield
    except BenchError as error:
        raise _Unreadable(run, error) from error


def _write(runs: Sequence[tuple[str, Path]], folder: Path) -> tuple[int, str]:
    opened: list[OpenRun] = []
    try:
        rows: dict[tuple[str, str], _Row] = {}
        tasks: dict[str, None] = {}
        for name, path in runs:
            with _reading(path):
                identity = read_evaluation(path)["identity"]
                opened.append(OpenRun(name, path, Store(path / "samples.sqlite", read_only=True)))
                run = opened[-1]
                run.annotations = _by_item(run.store.annotations().values())
                # The judges that the run's own results count stand first.
                both = (identity.get(part) for part in ("judge", "refusal_judge"))
                run.own = tuple(one["judge"] for one in both if one)
                for task in identity["tasks"]:
                    for row in _answered(run.store, task):
                        rows.setdefault((task, row.item), row)
                        tasks.setdefault(task)
        rank = {task: place for place, task in enumerate(tasks)}
        ordered = sorted(rows.values(), key=lambda row: (rank[row.task], row.position, row.item))
        for run in opened:
            run.answered = bytearray(len(ordered))
            for own in run.own:
                run.judge(own)
        ends: dict[str, str] = {}
        for start in range(0, len(ordered), ROWS_PER_CHUNK):
            ends |= _write_texts(opened, ordered, start, folder)
        index = {**_index(opened, ordered, list(tasks)), "ends": ends}
        end = write_chunk(folder, "index", index)
    finally:
        for run in opened:
            run.store.close()
    return len(ordered), end


def write_chunk(folder: Path, name: str, content: Any) -> str:
    """Writes ``NAME.js``; equal contents give equal bytes.

    Args:
        name: lower-case letters, digits and ``-``.
        content: JSON values.

    Returns:
        its end, by which it is told from that of another report in the same folder.
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Half a surrogate pair is no UTF-8; written as its escape it is still the same JSON string.
    packed = gzip.compress(text.encode("utf-8", "backslashreplace"), 4, mtime=0)
    data = base64.b64encode(packed).decode("ascii")
    (folder / f"{name}.js").write_text(f'bfpo("{name}","{data}")\n', encoding="ascii")
    return data[-END:]


def _answered(store: Store, task: str) -> Iterator[_Row]:
    if not store.response_totals(task).responses:
        return
    for item in store.iter_items(task):
        row = source_row(item)
        category, reference = (row.get(name) for name in ("category", "reference_output"))
        yield _Row(
            *(task, item.position, item.item),
            *(str(value) if value else None for value in (category, reference)),
        )


def _write_texts(
    runs: Sequence[OpenRun], rows: Sequence[_Row], start: int, folder: Path
) -> dict[str, str]:
    number = start // ROWS_PER_CHUNK
    part = rows[start : start + ROWS_PER_CHUNK]
    questions: list[str | None] = [None] * len(part)
    ends: dict[str, str] = {}
    for place, run in enumerate(runs):
        with _reading(run.path):
            responses = _by_item(_of(run.store, ResponseRecord, "responses", part))
            verdicts = _by_item(_of(run.store, VerdictRecord, "verdicts", part))
        answers: list[list[Any] | None] = [None] * len(part)
        for at, row in enumerate(part):
            if (row.task, row.item) not in responses:
                continue
            [response] = responses[row.task, row.item]
            run.answered[start + at] = 1
            question = questions[at] = questions[at] or response.question
            answers[at] = [
                *(response.response, named(response.finish)),
                # A seed has 64 bits, a number of JavaScript 53.
                str(response.seed),
                *(response.prompt_tokens, response.tokens, response.cut_tokens),
                frame_of(run, response),
                enter_verdicts(
                    run,
                    verdicts.get((row.task, row.item), []),
                    run.annotations.get((row.task, row.item), []),
                    start + at,
                ),
                None if response.question == question else response.question,
                response.thought,
                None if response.no_answer is None else named(response.no_answer),
            ]
        name = f"run-{place}-{number}"
        ends[name] = write_chunk(folder, name, answers)
    heads = [
        [named(row.item), row.position, text, *([row.reference] if row.reference else [])]
        for row, text in zip(part, questions, strict=True)
    ]
    name = f"questions-{number}"
    return {**ends, name: write_chunk(folder, name, heads)}


def _of(store: Store, kind: type[_Record], table: str, rows: Sequence[_Row]) -> Iterator[_Record]:
    for task, group in groupby(rows, key=lambda row: row.task):
        items = [row.item for row in group]
        marks = ",".join("?" * len(items))
        query = f"SELECT * FROM {table} WHERE task = ? AND item IN ({marks})"
        yield from store.records(kind, query, task, *items)


def _by_item(records: Iterable[_Record]) -> dict[tuple[str, str], list[_Record]]:
    found: dict[tuple[str, str], list[_Record]] = {}
    for record in records:
        found.setdefault((record.task, record.item), []).append(record)
    return found


def _index(runs: Sequence[OpenRun], rows: Sequence[_Row], tasks: Sequence[str]) -> dict[str, Any]:
    counts = dict.fromkeys(tasks, 0)
    categories: dict[str, int] = {}
    category = []
    for row in rows:
        counts[row.task] += 1
        found = row.category
        category.append(-1 if found is None else categories.setdefault(found, len(categories)))
    return {
        "per_chunk": ROWS_PER_CHUNK,
        "tasks": [[task, named(_title(task)), counts[task]] for task in tasks],
        "categories": [named(category) for category in categories],
        "category": category,
        "runs": [
            {
                "name": named(run.name),
                "frames": [list(frame) for frame in run.frames],
                "judges": [judge_entry(run, judge) for judge in list(run.judges) or [""]],
            }
            for run in runs
        ],
    }


def _title(task: str) -> str:
    column = ALPACA if task == ALPACA_TASK else COLUMN_OF_TASK.get(task)
    if column is None and task in task_names():
        return packaged_task(task).column
    return column.title if column else task
