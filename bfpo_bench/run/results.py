"""`results.json`: scores, errors and averages of a run, and how they are computed.

Disc. is the plain mean of the suite's discriminative scores, Gen. that of its judged ones, Savg.
the mean of the two (Section 4 of the BFPO paper; it reproduces all its printed rows). Harm. and
Answ. are those of its harmful prompts and of its benign look-alikes, where it has such tasks.
The file's layout is described in docs/results.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict

from bfpo_bench.common.text import sentence
from bfpo_bench.common.validate import WHOLE, Count
from bfpo_bench.run.also import AlsoResult, shown
from bfpo_bench.run.average import Average
from bfpo_bench.run.corrected import Corrected
from bfpo_bench.run.enough import Enough
from bfpo_bench.run.identity import Judge, Model, Suite
from bfpo_bench.run.marks import NO_NUMBER
from bfpo_bench.run.panel import Panel
from bfpo_bench.run.shares import BOTH, REFUSAL, Judges
from bfpo_bench.suites import JUDGED

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA_VERSION = 1

TITLES = {"disc": "Disc.", "gen": "Gen.", "savg": "Savg.", "harm": "Harm.", "answ": "Answ."}
"""What the averages are called in tables, in their order."""

ALWAYS = ("disc", "gen", "savg")
"""Averages that every file has, with or without a number."""

_RARE = ("panel", "corrected", "precision", "enough")
"""What only files, and cells, have in which there is something."""


@dataclass(frozen=True)
class TaskResult:
    """One cell of the table.

    Attributes:
        score: percent; None where there is no number, with a mark that says why.
        stderr: standard error of the score in percentage points: the bootstrap's of
            :mod:`bfpo_bench.common.statistics`, in which items of one group (BBQ, deontology,
            virtue) are drawn together. None without a score.
        n: items the score is over; ``items`` is how many the source has.
        unknown: responses without a verdict of the kind that the score counts; they count as not
            harmless, or not answered.
        metrics: every metric of the task, in its own unit; of a judged one shares of its responses
            (:mod:`bfpo_bench.run.shares`).
        cut: items whose prompt was cut on the left to fit the context window.
        source: where the rows came from: name, variant, where, rows, digest, status.
        marks: what a reader must know of this number.
        low, high: its 95 % interval, the same as the leaderboard's; None in older files.
        no_answer: responses that hold no answer (empty, or a thought alone); their verdicts are
            unknown, so `unknown` counts them too.
        finishes: how many responses ended in which way, e.g. ``{"stop": 500, "length": 20}``.
        intervals: 95 % interval of each of the shares among `metrics`, in percent.
        enough: of a run with a precision: what it took.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    task: str
    version: int
    column: str
    group: str
    metric: str
    direction: str
    score: float | None
    stderr: float | None
    n: Count
    items: Count
    unknown: Count
    cut: Count
    metrics: dict[str, float]
    source: dict[str, str | int | None]
    marks: list[str]
    low: float | None = None
    high: float | None = None
    no_answer: Count = 0
    finishes: dict[str, Count] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    enough: Enough | None = None

    @property
    def judged(self) -> bool:
        """Whether a judge gives it its score."""
        return self.metric in JUDGED


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

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    annotator: str
    reference: str
    n: Count
    failed: Count
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
        judge: identity of the one who says what is harmful; None without judged tasks.
        answered: responses by task, of tasks that only an annotator gives a number.
        also: what lm-eval's own tasks found, in no average; empty in older files.
        refusal_judge: identity of the one who says what is refused, which may be the same one; None
            where nobody does.
        panel: the judges whose majority `judge` is; None, and not in the file, where it is one.
        corrected: the same shares corrected for the judge's errors; None, and not in the file,
            without people's labels.
        precision: percentage points within which the score of all items was to be known, so that
            fewer were asked; None where that was not asked for.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    schema: int
    bfpo_bench: str
    model: Model
    suite: Suite
    backend: str
    judge: Judge | None
    seed: int
    limit: Count | None
    tasks: dict[str, TaskResult]
    averages: dict[str, Average]
    marks: list[str]
    helpfulness: HelpfulnessResult | None = None
    answered: dict[str, Count] = field(default_factory=dict)
    also: dict[str, AlsoResult] = field(default_factory=dict)
    refusal_judge: Judge | None = None
    panel: Panel | None = None
    corrected: Corrected | None = None
    precision: float | None = None

    @property
    def judges(self) -> Judges:
        """Whose verdicts are counted."""
        both = (self.judge or {}, self.refusal_judge or {})
        return Judges(*(one.get("judge") for one in both))

    def titled_averages(self) -> dict[str, Average]:
        """The averages by their titles; none of a group that the suite has no tasks of."""
        return {
            title: self.averages[key]
            for key, title in TITLES.items()
            if key in self.averages and not self.averages[key].absent
        }

    @property
    def older(self) -> bool:
        """Whether it is of before cells had intervals: their ± took all items for independent."""
        return any(cell.score is not None and cell.low is None for cell in self.tasks.values())

    def to_json(self) -> str:
        """The text of ``results.json``."""
        content = _told(asdict(self))
        content["tasks"] = {name: _told(cell) for name, cell in content["tasks"].items()}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def marked(self, marks: Sequence[str]) -> Results:
        """The same with more marks."""
        return replace(self, marks=[*self.marks, *marks])

    def to_frame(self) -> DataFrame:
        """One row per task, then the averages (group ``average``), as a pandas frame; last, one for
        each metric of lm-eval's own tasks (group ``also``).

        Columns: model, task, column, group, metric, score, stderr, low, high (percent; of a metric
        of lm-eval's that is no share, its own unit; NaN where there is no number), complied,
        partly_refused, refused, refusal_unknown, harmless_without_refusing (percent; NaN where
        nobody says), n, items, unknown, no_answer, cut, marks (one text, by semicolons).
        """
        import pandas

        shares = (*REFUSAL, *BOTH)
        names = ("task", "column", "group", "metric", "score", "stderr", "low", "high")
        counts = ("n", "items", "unknown", "no_answer", "cut")
        rows = [
            {name: getattr(cell, name) for name in names + counts}
            | {name: 100 * cell.metrics[name] for name in shares if name in cell.metrics}
            | {"marks": "; ".join(cell.marks)}
            for cell in self.tasks.values()
        ]
        for key, mean in self.averages.items():
            about = {"task": key, "column": TITLES[key], "group": "average", "score": mean.value}
            bounds = {name: getattr(mean, name) for name in ("stderr", "low", "high")}
            missing = f"missing {', '.join(mean.missing)}" if mean.missing else ""
            rows.append(about | bounds | {"marks": missing})
        for result, metric in shown(self.also):
            about = {"task": result.task, "column": result.column(metric), "group": "also"}
            figures = (metric.value, metric.stderr, metric.low, metric.high)
            known = dict(zip(names[4:], map(metric.shown, figures), strict=True))
            items = {"n": metric.n, "items": result.items, "cut": result.cut}
            more = {"metric": metric.key, "marks": "; ".join(result.notes)}
            rows.append({**about, **known, **items, **more})
        numbers = (*names[4:], *shares)
        kinds = dict.fromkeys(numbers, "float64") | dict.fromkeys(counts, "Int64")
        columns = [*names, *shares, *counts, "marks"]
        frame = pandas.DataFrame(rows, columns=columns).astype(kinds)
        frame.insert(0, "model", str(self.model["name"]))
        return frame

    def __str__(self) -> str:
        cells = [f"{title} {mean}" for title, mean in self.titled_averages().items()]
        return sentence(f"{self.model['name']}: {', '.join(cells)}")


def _told(content: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in content.items() if v is not None or k not in _RARE}


def without_verdicts(cell: TaskResult) -> TaskResult:
    """The cell; a judged one without any verdict has no score instead of 0."""
    if not cell.judged or cell.score is None or cell.unknown < cell.n:
        return cell
    return emptied(cell, f"{NO_NUMBER}all {cell.n} verdicts are unknown")


def emptied(cell: TaskResult, mark: str) -> TaskResult:
    """The cell without a score, and the mark that says why."""
    return replace(cell, score=None, stderr=None, low=None, high=None, marks=[*cell.marks, mark])
