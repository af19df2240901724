"""Measures a judge against people: its verdicts, or those in a file, against the file's labels.

Rates, F1 and Cohen's kappa with 95 % intervals. Harmful is the positive class. Everything follows
from the four counts of the confusion matrix; responses without a verdict are counted beside it and
enter no rate.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bfpo_bench.common.progress import Progress
from bfpo_bench.common.statistics import CONFIDENCE, RESAMPLES, percentiles, wilson
from bfpo_bench.judges.chosen import ChosenJudge
from bfpo_bench.judges.human_labels import Labels, Means, Table, majority, read_table
from bfpo_bench.judges.protocol import Exchange, judge_all

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Confusion:
    """Verdicts against labels, counted.

    Attributes:
        true_positive: harmful by both.
        false_positive: harmful by the judge, harmless by the label.
        false_negative: harmless by the judge, harmful by the label.
        true_negative: harmless by both.
        unknown_harmful: without a verdict, harmful by the label.
        unknown_harmless: without a verdict, harmless by the label.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int
    unknown_harmful: int = 0
    unknown_harmless: int = 0

    @property
    def judged(self) -> int:
        """Responses with a verdict."""
        return sum(self.cells)

    @property
    def unknown(self) -> int:
        """Responses without one."""
        return self.unknown_harmful + self.unknown_harmless

    @property
    def cells(self) -> tuple[int, int, int, int]:
        """The matrix: true and false positives, false and true negatives."""
        return (
            self.true_positive,
            self.false_positive,
            self.false_negative,
            self.true_negative,
        )


@dataclass(frozen=True)
class Measure:
    """An estimate with its 95 % interval; None where it is not defined (nothing to divide by).

    Attributes:
        n: responses that it is over.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Agreement:
    """How a judge's verdicts agree with people's labels.

    Attributes:
        judge: identity of the judge; None for verdicts from a column.
        verdict_column: the column the verdicts came from; None for a judge's own.
        means: what 1, true and yes stood for in the columns of ``labels`` and ``verdicts``; None
            where words spoke for themselves.
        measures: by name; see :func:`measures`.
    """

    table: Table
    label_columns: list[str]
    labels: Labels
    judge: dict[str, Any] | None
    verdict_column: str | None
    confusion: Confusion
    means: dict[str, Means | None]
    measures: dict[str, Measure]

    @property
    def verdicts_by(self) -> str:
        """Whose verdicts these are."""
        return str(self.judge["judge"]) if self.judge else f"column {self.verdict_column}"

    def to_json(self) -> str:
        """Everything, as written by ``judges check --output``; layout in docs/judges.md."""
        content = {
            "schema": SCHEMA_VERSION,
            "bfpo_bench": metadata.version("bfpo-bench"),
            "verdicts": {"judge": self.judge, "column": self.verdict_column},
            "means": self.means,
            "labels": {
                "file": self.table.path.name,
                "sha256": self.table.digest,
                "encoding": self.table.encoding,
                "columns": self.label_columns,
                "rows": len(self.table.rows),
                "ties": self.labels.ties,
                "unlabelled": self.labels.unlabelled,
            },
            "confusion": asdict(self.confusion),
            "intervals": {"confidence": CONFIDENCE, "resamples": RESAMPLES, "seed": 0},
            "measures": {name: asdict(measure) for name, measure in self.measures.items()},
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def check_column(
    path: Path,
    column: str,
    label_columns: list[str],
    encoding: str | None = None,
    label_means: Means | None = None,
    verdict_means: Means | None = None,
) -> Agreement:
    """Verdicts in a column of the file against its labels.

    Args:
        label_means: what 1, true and yes say in the columns of labels.
        verdict_means: what they say in the column of verdicts; None: that a response is harmful,
            unless the column's name speaks of safety.

    Raises:
        BadInput: the file, a column or a value is not right, or can mean one thing or the other.
    """
    table = read_table(path, encoding)
    labels = majority(table, label_columns, label_means)
    if verdict_means is None and not _SAFE.search(column):
        verdict_means = "harmful"
    verdicts = table.marks(column, verdict_means, "--verdict-means")
    means: dict[str, Means | None] = {"labels": label_means, "verdicts": verdict_means}
    return _agreement(table, label_columns, labels, verdicts, None, column, means)


_SAFE = re.compile(r"safe|harmless|benign|refus|compl(y|ian)|accept|\bok\b", re.IGNORECASE)
"""In the name of a column whose 1 need not mean harmful."""


def check_judge(
    path: Path,
    chosen: ChosenJudge,
    label_columns: list[str],
    prompt_column: str = "prompt",
    response_column: str = "response",
    encoding: str | None = None,
    progress: Progress | None = None,
    label_means: Means | None = None,
) -> Agreement:
    """A judge's verdicts on the file's responses against its labels. Judges labelled rows only.

    Args:
        label_means: what 1, true and yes say in the columns of labels.

    Raises:
        BadInput: the file, a column or a value is not right, or can mean one thing or the other.
    """
    progress = progress or Progress(show=False)
    table = read_table(path, encoding)
    labels = majority(table, label_columns, label_means)
    texts = zip(table.texts(prompt_column), table.texts(response_column), strict=True)
    items = [Exchange(prompt, response) for prompt, response in texts]
    # What is no answer is neither harmless nor harmful, and no judge is asked about it.
    wanted = [
        i
        for i, label in enumerate(labels.values)
        if label is not None and items[i].response.strip()
    ]
    verdicts: list[bool | None] = [None] * len(items)
    with (
        chosen.opened(progress) as judge,
        progress.stage(f"judge {path.name}", len(wanted), 0, "verdicts"),
    ):
        for batch in judge_all(judge, (items[i] for i in wanted), ()):
            for number, verdict in batch:
                verdicts[wanted[number]] = verdict.harmful
            progress.advance(len(batch))
    means: dict[str, Means | None] = {"labels": label_means, "verdicts": None}
    return _agreement(table, label_columns, labels, verdicts, chosen.identity(), None, means)


def _agreement(
    table: Table,
    label_columns: list[str],
    labels: Labels,
    verdicts: list[bool | None],
    judge: dict[str, Any] | None,
    column: str | None,
    means: dict[str, Means | None],
) -> Agreement:
    pairs = [
        (verdict, label)
        for verdict, label in zip(verdicts, labels.values, strict=True)
        if label is not None
    ]
    confusion = count([verdict for verdict, _ in pairs], [label for _, label in pairs])
    found = measures(confusion)
    return Agreement(table, label_columns, labels, judge, column, confusion, means, found)


def count(verdicts: Sequence[bool | None], labels: Sequence[bool]) -> Confusion:
    """Counts verdicts (None: unknown) against labels, both True for harmful."""
    pairs = list(zip(verdicts, labels, strict=True))
    return Confusion(
        true_positive=pairs.count((True, True)),
        false_positive=pairs.count((True, False)),
        false_negative=pairs.count((False, True)),
        true_negative=pairs.count((False, False)),
        unknown_harmful=pairs.count((None, True)),
        unknown_harmless=pairs.count((None, False)),
    )


def measures(confusion: Confusion, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Measure]:
    """Accuracy, precision, sensitivity (recall), specificity, F1 and Cohen's kappa.

    Proportions carry Wilson's interval; F1 and kappa, which are none, that of the bootstrap over
    responses (both of :mod:`bfpo_bench.common.statistics`).

    Args:
        resamples: of the bootstrap.
        seed: of the bootstrap; the same counts and seed give the same interval.
    """
    tp, fp, fn, tn = confusion.cells
    drawn = _resample(confusion, resamples, seed)
    return {
        "accuracy": proportion(tp + tn, confusion.judged),
        "precision": proportion(tp, tp + fp),
        "sensitivity": proportion(tp, tp + fn),
        "specificity": proportion(tn, tn + fp),
        "f1": _bootstrapped(_f1, confusion, drawn),
        "kappa": _bootstrapped(_kappa, confusion, drawn),
    }


def proportion(successes: int, n: int) -> Measure:
    """successes / n with Wilson's 95 % score interval."""
    if n == 0:
        return Measure(None, None, None, 0)
    low, high = wilson(successes, n)
    return Measure(successes / n, low / 100, high / 100, n)


def _f1(tp: Any, fp: Any, fn: Any, tn: Any) -> Any:
    return 2 * tp / (2 * tp + fp + fn)


def _kappa(tp: Any, fp: Any, fn: Any, tn: Any) -> Any:
    """(observed - expected agreement) / (1 - expected agreement), Cohen 1960."""
    n = tp + fp + fn + tn
    observed = (tp + tn) / n
    expected = ((tp + fp) * (tp + fn) + (fn + tn) * (fp + tn)) / n**2
    return (observed - expected) / (1 - expected)


def _resample(confusion: Confusion, resamples: int, seed: int) -> Any:
    """Counts of resampled responses, ``[4, resamples]``.

    Responses differ only in their cell, so a cell's weights are drawn together. No prior: with it a
    judge that was never wrong would have been.
    """
    import numpy as np

    shapes = np.array(confusion.cells, dtype=float)[:, None]
    return np.random.default_rng(seed).standard_gamma(shapes, (4, resamples))


def _bootstrapped(statistic: Callable[..., Any], confusion: Confusion, drawn: Any) -> Measure:
    """The statistic, and the range that the middle 95 % of its resampled values span."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(*np.array(confusion.cells, dtype=float)))
        values = statistic(*drawn)
    # A resample in which one class is missing has no kappa.
    defined = values[np.isfinite(values)]
    if not np.isfinite(value) or not defined.size:
        return Measure(None, None, None, confusion.judged)
    return Measure(value, *percentiles(value, defined), confusion.judged)
