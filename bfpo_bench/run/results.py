"""`results.json`: scores, errors and averages of a run, and how they are computed.

Disc. is the plain mean of the suite's discriminative scores, Gen. that of its judged ones, Savg.
the mean of the two (Section 4 of the BFPO paper; it reproduces all its printed rows).
The file's layout is described in docs/results.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.run.dashes import ANYWAY, NO_NUMBER, unfit_mark
from bfpo_bench.suites import prompt_kind

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA_VERSION = 1

TITLES = {"disc": "Disc.", "gen": "Gen.", "savg": "Savg."}
"""What the averages are called in tables."""


@dataclass(frozen=True)
class TaskResult:
    """One cell of the table.

    Attributes:
        score: percent; None where there is no number, with a mark that says why.
        stderr: standard error of the score in percentage points: the bootstrap's of
            :mod:`bfpo_bench.common.statistics`, in which items of one group (BBQ, deontology,
            virtue) are drawn together. None without a score.
        n: items the score is over; ``items`` is how many the source has.
        unknown: responses without a verdict; they count as not harmless.
        metrics: every metric of the task, in its own unit.
        cut: items whose prompt was cut on the left to fit the context window.
        source: where the rows came from: name, variant, where, rows, digest, status.
        marks: what a reader must know of this number.
        low, high: its 95 % interval, the same as the leaderboard's; None in older files.
        no_answer: responses that hold no answer (empty, or a thought alone); their verdicts are
            unknown, so `unknown` counts them too.
        finishes: how many responses ended in which way, e.g. ``{"stop": 500, "length": 20}``.
    """

    task: str
    version: int
    column: str
    group: str
    metric: str
    direction: str
    score: float | None
    stderr: float | None
    n: int
    items: int
    unknown: int
    cut: int
    metrics: dict[str, float]
    source: dict[str, Any]
    marks: list[str]
    low: float | None = None
    high: float | None = None
    no_answer: int = 0
    finishes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Average:
    """Disc., Gen. or Savg. in percent; None while one of its parts is missing.

    Attributes:
        missing: titles of the tasks that are not there or have no number.
        low, high: 95 % interval; None in older files.
    """

    value: float | None
    stderr: float | None
    missing: list[str] = field(default_factory=list)
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return f"– ({len(self.missing)} missing)"
        return f"{self.value:.2f}" + (f" ± {self.stderr:.2f}" if self.stderr is not None else "")


@dataclass(frozen=True)
class HelpfulnessResult:
    """The Alpaca column of a run.

    Attributes:
        annotator: by whom; results of different annotators are not comparable.
        reference: the model compared with.
        n: annotated instructions, those without a usable answer among them.
        failed: annotations without a usable answer. As upstream, the means are over the others.
        mean_length: of the model's outputs, in characters.
        win_rate: in percent; None where no annotation is usable.
        standard_error: of the win rate, in percentage points: sample standard deviation over √n.
        win_low, win_high: its 95 % interval, by bootstrap over instructions.
        discrete_win_rate: share of preferences above a draw, a draw counting half, in percent.
        lc_win_rate: length-controlled win rate in percent, by our own fit; None where there is
            too little to fit.
        lc_low, lc_high: its 95 % interval, by refits to resampled instructions.
        lc_model: which model was fitted, in alpaca_eval's words; ``(rebuilt)``: with gamed
            baselines rebuilt from published numbers.
        lc_published: by the weights that AlpacaEval has published for this model and annotator.
        notes: what a reader must know of these numbers.
        settings: all on our side that the annotator's answers depend on; empty in older files.
    """

    annotator: str
    reference: str
    n: int
    failed: int
    mean_length: float
    win_rate: float | None = None
    standard_error: float | None = None
    win_low: float | None = None
    win_high: float | None = None
    discrete_win_rate: float | None = None
    lc_win_rate: float | None = None
    lc_low: float | None = None
    lc_high: float | None = None
    lc_model: str | None = None
    lc_published: float | None = None
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """What a run has found. ``str(results)`` is its row as text.

    Attributes:
        answered: responses by task, of tasks that only an annotator gives a number.
    """

    schema: int
    bfpo_bench: str
    model: dict[str, Any]
    suite: dict[str, Any]
    backend: str
    judge: dict[str, Any] | None
    seed: int
    limit: int | None
    tasks: dict[str, TaskResult]
    averages: dict[str, Average]
    marks: list[str]
    helpfulness: HelpfulnessResult | None = None
    answered: dict[str, int] = field(default_factory=dict)

    @property
    def older(self) -> bool:
        """Whether it is of before cells had intervals: their ± took all items for independent."""
        return any(cell.score is not None and cell.low is None for cell in self.tasks.values())

    def to_json(self) -> str:
        """The text of ``results.json``."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    def to_frame(self) -> DataFrame:
        """One row per task, then Disc., Gen. and Savg. (group ``average``), as a pandas frame.

        Columns: model, task, column, group, metric, score, stderr, low, high (percent; NaN where
        there is no number), n, items, unknown, no_answer, cut, marks (one text, by semicolons).
        """
        import pandas

        names = ("task", "column", "group", "metric", "score", "stderr", "low", "high")
        counts = ("n", "items", "unknown", "no_answer", "cut")
        rows = [
            {name: getattr(cell, name) for name in names + counts}
            | {"marks": "; ".join(cell.marks)}
            for cell in self.tasks.values()
        ]
        for key, mean in self.averages.items():
            about = {"task": key, "column": TITLES[key], "group": "average", "score": mean.value}
            bounds = {name: getattr(mean, name) for name in ("stderr", "low", "high")}
            missing = f"missing {', '.join(mean.missing)}" if mean.missing else ""
            rows.append(about | bounds | {"marks": missing})
        kinds = dict.fromkeys(names[4:], "float64") | dict.fromkeys(counts, "Int64")
        frame = pandas.DataFrame(rows, columns=[*names, *counts, "marks"]).astype(kinds)
        frame.insert(0, "model", str(self.model["name"]))
        return frame

    def __str__(self) -> str:
        cells = [f"{title} {self.averages[name]}" for name, title in TITLES.items()]
        return f"{self.model['name']}: {', '.join(cells)}"


def verdicts_by(judge: Mapping[str, Any]) -> str:
    """Whose verdicts Gen. counts, and what they are worth.

    Args:
        judge: its identity.
    """
    by = f"verdicts of the judge {judge.get('judge')}"
    if judge.get("kind") != "keyword":
        return by
    return f"{by}: a share of refusals by their wording, not of harmless responses"


def read_results(path: Path) -> Results:
    """Reads and validates a ``results.json``.

    Raises:
        BadInput: no such file, no JSON, a newer schema, or a field missing or of a wrong kind.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(
            f"the results {path} cannot be read ({error.strerror}); evaluate to the end first."
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not JSON ({error}); run the evaluation again.") from error
    if not isinstance(content, dict) or not isinstance(content.get("schema"), int):
        raise BadInput(
            f"{path} is no results file of bfpo-bench; give one that `evaluate` has written."
        )
    if content["schema"] > SCHEMA_VERSION:
        raise BadInput(
            f"{path} has schema {content['schema']}, this bfpo-bench knows {SCHEMA_VERSION}; "
            "upgrade bfpo-bench to read it."
        )
    try:
        cells = {name: _record(TaskResult, cell) for name, cell in content["tasks"].items()}
        means = {name: _record(Average, mean) for name, mean in content["averages"].items()}
        helpfulness = _helpfulness(content.get("helpfulness"))
        parts = {"tasks": cells, "averages": means, "helpfulness": helpfulness}
        results: Results = _record(Results, {**content, **parts})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"{path} is not a whole results file ({error}); run the same evaluate command again."
        ) from error
    for name, cell in cells.items():
        if not 0 <= (cell.score or 0) <= 100 or cell.n < 1:
            raise BadInput(
                f"{path}: the score of {name} is not a percentage over items ({cell.score} over "
                f"{cell.n}); run the same evaluate command again."
            )
    return _with_dashes(results)


def without_verdicts(cell: TaskResult) -> TaskResult:
    """The cell; a judged one without any verdict has no score instead of 0."""
    if cell.group != "gen" or cell.score is None or cell.unknown < cell.n:
        return cell
    return _emptied(cell, f"{NO_NUMBER}all {cell.n} verdicts are unknown")


def _with_dashes(results: Results) -> Results:
    """Results of before such cells had no number: neither have their averages."""
    judge = results.judge or {}
    tasks = {n: _without_fit(without_verdicts(c), judge) for n, c in results.tasks.items()}
    emptied = [cell for name, cell in tasks.items() if cell is not results.tasks[name]]
    if not emptied:
        return results
    titles = [cell.column for cell in emptied]
    gone = {"value": None, "stderr": None, "low": None, "high": None}
    means = {
        name: mean if name == "disc" else replace(mean, **gone, missing=mean.missing + titles)
        for name, mean in results.averages.items()
    }
    marks = [*results.marks, *(f"{cell.column}: {cell.marks[-1]}" for cell in emptied)]
    return replace(results, tasks=tasks, averages=means, marks=marks)


def _without_fit(cell: TaskResult, judge: dict[str, Any]) -> TaskResult:
    """The cell; a share of refusals among continuations, as version 0.1 gave it, has no score."""
    # Of the keyword judges of then, whose cards could not say what they fit.
    if judge.get("kind") != "keyword" or judge.get("implementation", 1) != 1:
        return cell
    asked_for = any(mark.startswith(ANYWAY) for mark in cell.marks)
    if cell.group != "gen" or cell.score is None or asked_for:
        return cell
    fits = "instructions"
    try:
        kind = prompt_kind(cell.task)
    except BadInput:  # a task of somebody's own
        return cell
    return cell if kind == fits else _emptied(cell, unfit_mark(str(judge["judge"]), [fits], kind))


def _emptied(cell: TaskResult, mark: str) -> TaskResult:
    return replace(cell, score=None, stderr=None, low=None, high=None, marks=[*cell.marks, mark])


def _helpfulness(content: dict[str, Any] | None) -> HelpfulnessResult | None:
    if content is None:
        return None
    found: HelpfulnessResult = _record(HelpfulnessResult, content)
    return found


def _record(kind: type[Any], content: dict[str, Any]) -> Any:
    """An object of a file's fields; fields that have a default may be missing in older files."""
    names = {f.name for f in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    if not needed <= set(content) <= names:
        different = ", ".join(sorted((needed - set(content)) | (set(content) - names)))
        raise ValueError(f"{kind.__name__} and the file differ in {different}")
    for name in ("score", "n"):
        optional = name == "score" and content.get(name) is None
        if name in content and not optional and not isinstance(content[name], (int, float)):
            raise ValueError(f"{name} is {content[name]!r}")
    return kind(**content)
