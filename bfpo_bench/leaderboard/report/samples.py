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
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from bfpo_bench.common.errors import BenchError
from bfpo_bench.helpfulness.annotation import TASK as ALPACA_TASK
from bfpo_bench.helpfulness.annotation import TIE
from bfpo_bench.leaderboard.columns import ALPACA, COLUMN_OF_TASK
from bfpo_bench.leaderboard.report.escaping import named
from bfpo_bench.run.run_json import read_evaluation
from bfpo_bench.run.store import AnnotationRecord, ResponseRecord, Store, VerdictRecord, source_row
from bfpo_bench.suites import packaged_task, task_names

END = 16
"""Characters at the end of a data file: the check sum and the size of what is in it."""

ROWS_PER_CHUNK = 400
"""Samples in one file: about half a megabyte of text, a few hundredths of a second to open."""

_HARMLESS, _HARMFUL, _UNKNOWN, _NOT_JUDGED, _NOT_ANSWERED = b"01234"
_BETTER, _WORSE, _DRAW, _UNUSABLE = b"5678"
_REFUSALS = ("compliance", "partial_refusal", "full_refusal", None)
_REFUSAL: dict[str | None, int] = dict(zip(_REFUSALS, b"0123", strict=True))
_NOT_ASKED = b"4"[0]
_VERDICT = {False: _HARMLESS, True: _HARMFUL, None: _UNKNOWN}
_Record = TypeVar("_Record", ResponseRecord, VerdictRecord, AnnotationRecord)

_FEW_FRAMES = 64
"""More prompts than that are no template but texts of their own."""


@dataclass(frozen=True)
class _Row:
    """An item that at least one run has answered."""

    task: str
    position: int
    item: str
    category: str | None
    reference: str | None


@dataclass
class _Judged:
    """One judge's or annotator's verdicts on one run, by row.

    Attributes:
        p: of harm, or of being better than the reference, in thousandths; -1 for none.
        refusals, p_refusal: the same of refusals, of a judge who gives such verdicts.
    """

    verdicts: bytearray
    p: list[int]
    refusals: bytearray
    p_refusal: list[int]
    annotator: bool = False

    @classmethod
    def of(cls, rows: int) -> _Judged:
        """Nothing judged yet."""
        nothing = [-1] * rows
        return cls(
            *(bytearray([_NOT_JUDGED]) * rows, nothing),
            *(bytearray([_NOT_ASKED]) * rows, nothing.copy()),
        )

    @property
    def refuses(self) -> bool:
        """Whether it says what is refused."""
        return any(said in self.refusals for said in b"012")

    @property
    def alone(self) -> bool:
        """Whether it says that and not what is harmful."""
        return self.refuses and not any(v in (_HARMLESS, _HARMFUL) for v in self.verdicts)


@dataclass
class _Run:
    """An open run while its answers are written."""

    name: str
    path: Path
    store: Store
    own: tuple[str, ...] = ()
    annotations: dict[tuple[str, str], list[AnnotationRecord]] = field(default_factory=dict)
    judges: dict[str, _Judged] = field(default_factory=dict)
    frames: dict[tuple[str, str], int] = field(default_factory=dict)
    answered: bytearray = field(default_factory=bytearray)

    def judge(self, name: str) -> _Judged:
        """Its verdicts; a judge is listed from when it is first asked for."""
        if name not in self.judges:
            self.judges[name] = _Judged.of(len(self.answered))
        return self.judges[name]


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
    opened: list[_Run] = []
    try:
        rows: dict[tuple[str, str], _Row] = {}
        tasks: dict[str, None] = {}
        for name, path in runs:
            with _reading(path):
                identity = read_evaluation(path)["identity"]
                opened.append(_Run(name, path, Store(path / "samples.sqlite", read_only=True)))
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
    runs: Sequence[_Run], rows: Sequence[_Row], start: int, folder: Path
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
                _frame(run, response),
                _judge_all(
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


def _judge_all(
    run: _Run,
    verdicts: Sequence[VerdictRecord],
    annotations: Sequence[AnnotationRecord],
    at: int,
) -> list[str | None]:
    """Enters the verdicts on a response into the columns; what each judge said of it."""
    said: dict[str, str] = {}
    for verdict in sorted(verdicts, key=lambda one: (one.judge, one.key)):
        judged = run.judge(verdict.judge)
        judged.verdicts[at] = _VERDICT[verdict.harmful]
        judged.refusals[at] = _REFUSAL[verdict.refusal]
        if verdict.p_harmful is not None:
            judged.p[at] = round(1000 * verdict.p_harmful)
        if verdict.p_refusal is not None:
            judged.p_refusal[at] = round(1000 * verdict.p_refusal)
        said[verdict.judge] = verdict.raw
    for one in annotations:
        judged = run.judge(one.annotator)
        judged.annotator = True
        judged.verdicts[at] = _UNUSABLE
        if one.preference is not None:
            above, below = one.preference > TIE, one.preference < TIE
            judged.verdicts[at] = _BETTER if above else _WORSE if below else _DRAW
            judged.p[at] = round(1000 * (one.preference - 1))
        if one.raw is not None:
            said[one.annotator] = one.raw
    return [said.get(judge) for judge in run.judges]


def _frame(run: _Run, response: ResponseRecord) -> int | str:
    before, found, after = response.prompt.partition(response.question)
    frame = (before, after)
    if not found or (frame not in run.frames and len(run.frames) == _FEW_FRAMES):
        return response.prompt
    return run.frames.setdefault(frame, len(run.frames))


def _index(runs: Sequence[_Run], rows: Sequence[_Row], tasks: Sequence[str]) -> dict[str, Any]:
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
                "judges": [_judge(run, judge) for judge in list(run.judges) or [""]],
            }
            for run in runs
        ],
    }


def _judge(run: _Run, name: str) -> dict[str, Any]:
    judged = run.judge(name)
    verdicts = judged.verdicts
    if judged.alone:
        verdicts = verdicts.replace(bytes([_UNKNOWN]), bytes([_NOT_JUDGED]))
    pairs = zip(verdicts, run.answered, strict=True)
    return {
        "name": named(name),
        "annotator": judged.annotator,
        "verdicts": bytes(v if there else _NOT_ANSWERED for v, there in pairs).decode("ascii"),
        "p": judged.p if any(p >= 0 for p in judged.p) else None,
        "refusals": judged.refusals.decode("ascii") if judged.refuses else None,
        "p_refusal": judged.p_refusal if any(p >= 0 for p in judged.p_refusal) else None,
        "harm": not judged.annotator and not judged.alone,
    }


def _title(task: str) -> str:
    column = ALPACA if task == ALPACA_TASK else COLUMN_OF_TASK.get(task)
    if column is None and task in task_names():
        return packaged_task(task).column
    return column.title if column else task
