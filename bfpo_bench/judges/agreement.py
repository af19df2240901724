"""Measures a judge against people: its verdicts, or those in a file, against the file's labels.

Verdicts of harm or of refusal, as two classes (harmful, or refused, is the positive one) and by all
classes that there are, with 95 % intervals. Everything follows from the counts of the confusion
matrix; responses without a verdict are counted beside it and enter no rate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bfpo_bench import __version__
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.common.statistics import CONFIDENCE, RESAMPLES
from bfpo_bench.common.text import plain_json
from bfpo_bench.judges.chosen import ChosenJudge
from bfpo_bench.judges.classes import (
    Classes,
    Measure,
    bootstrapped,
    compare_classes,
    f1,
    intervals,
    kappa,
    proportion,
    resample,
)
from bfpo_bench.judges.human_labels import Labels, Table, majority, read_table
from bfpo_bench.judges.protocol import Exchange, judge_all
from bfpo_bench.judges.vocabulary import HARM, Vocabulary

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Confusion:
    """Verdicts of two classes against labels, counted; of refusals, harmful stands for refused.

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
class Agreement:
    """How a judge's verdicts agree with people's labels.

    Attributes:
        judge: identity of the judge; None for verdicts from a column.
        verdict_column: the column the verdicts came from; None for a judge's own.
        vocabulary: of the kind of verdicts.
        confusion: of the two classes.
        means: what 1, true and yes stood for in the columns of ``labels`` and ``verdicts``; None
            where words spoke for themselves.
        measures: of the two classes by name; see :func:`measures`.
        classes: of all classes.
    """

    table: Table
    label_columns: list[str]
    labels: Labels
    judge: dict[str, Any] | None
    verdict_column: str | None
    vocabulary: Vocabulary
    confusion: Confusion
    means: dict[str, str | None]
    measures: dict[str, Measure]
    classes: Classes

    @property
    def verdicts_by(self) -> str:
        """Whose verdicts these are."""
        return str(self.judge["judge"]) if self.judge else f"column {self.verdict_column}"

    def to_json(self) -> str:
        """Everything, as ``judges check`` writes it; layout in docs/judges.md."""
        content = {
            "schema": SCHEMA_VERSION,
            "bfpo_bench": __version__,
            "verdict": self.vocabulary.kind,
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
            "binary": {
                "positive": self.vocabulary.positive[0],
                "n": self.confusion.judged,
                "unknown": self.confusion.unknown,
                **{name: measure.value for name, measure in self.measures.items()},
                "intervals": intervals(self.measures),
            },
            "classes": self.classes.to_json(),
        }
        return plain_json(json.dumps(content, indent=2, ensure_ascii=False)) + "\n"


def check_column(
    path: Path,
    column: str,
    label_columns: list[str],
    encoding: str | None = None,
    label_means: str | None = None,
    verdict_means: str | None = None,
    vocabulary: Vocabulary = HARM,
) -> Agreement:
    """Verdicts in a column of the file against its labels.

    Args:
        label_means: what 1, true and yes say in the columns of labels.
        verdict_means: what they say in the column of verdicts; None: what its name lets one expect
            (that a response is harmful, unless the name speaks of safety).

    Raises:
        BadInput: the file, a column or a value is not right, or can mean one thing or the other.
    """
    table = read_table(path, encoding, "--encoding")
    labels = majority(table, label_columns, label_means, vocabulary)
    if verdict_means is None and vocabulary.yes_columns.match(column):
        verdict_means = next(iter(vocabulary.means))
    verdicts = table.classes(column, verdict_means, vocabulary, "--verdict-means")
    means = {"labels": label_means, "verdicts": verdict_means}
    return _agreement(table, label_columns, labels, verdicts, None, column, means, vocabulary)


def check_judge(
    path: Path,
    chosen: ChosenJudge,
    label_columns: list[str],
    prompt_column: str = "prompt",
    response_column: str = "response",
    encoding: str | None = None,
    progress: Progress | None = None,
    label_means: str | None = None,
    vocabulary: Vocabulary = HARM,
) -> Agreement:
    """A judge's verdicts on the file's responses against its labels. Judges labelled rows only.

    Args:
        label_means: what 1, true and yes say in the columns of labels.

    Raises:
        BadInput: the file, a column or a value is not right, or can mean one thing or the other; or
            the judge gives no such verdicts.
    """
    if vocabulary.kind not in chosen.card.gives:
        raise BadInput(
            f"judge {chosen.card.name} gives no verdicts of {vocabulary.kind}, only of "
            f"{' and '.join(chosen.card.gives)}; name another judge, or another --verdict."
        )
    progress = progress or Progress(show=False)
    table = read_table(path, encoding, "--encoding")
    labels = majority(table, label_columns, label_means, vocabulary)
    texts = zip(table.texts(prompt_column), table.texts(response_column), strict=True)
    items = [Exchange(prompt, response) for prompt, response in texts]
    # What is no answer is neither harmless nor harmful, and no judge is asked about it.
    wanted = [
        i
        for i, label in enumerate(labels.values)
        if label is not None and items[i].response.strip()
    ]
    verdicts: list[str | None] = [None] * len(items)
    with (
        chosen.opened(progress) as judge,
        progress.stage(f"judge {path.name}", len(wanted), 0, "verdicts"),
    ):
        for batch in judge_all(judge, (items[i] for i in wanted), ()):
            for number, verdict in batch:
                verdicts[wanted[number]] = vocabulary.said(verdict)
            progress.advance(len(batch))
    means = {"labels": label_means, "verdicts": None}
    return _agreement(
        table, label_columns, labels, verdicts, chosen.identity(), None, means, vocabulary
    )


def _agreement(
    table: Table,
    label_columns: list[str],
    labels: Labels,
    verdicts: list[str | None],
    judge: dict[str, Any] | None,
    column: str | None,
    means: dict[str, str | None],
    vocabulary: Vocabulary,
) -> Agreement:
    names = vocabulary.told_apart({*labels.values, *verdicts})
    said, people = [], []
    for verdict, label in zip(verdicts, labels.values, strict=True):
        if label is not None:
            said.append(None if verdict is None else names[verdict])
            people.append(names[label])
    positive = set(vocabulary.positive)
    confusion = count(
        [None if verdict is None else verdict in positive for verdict in said],
        [label in positive for label in people],
    )
    return Agreement(
        *(table, label_columns, labels, judge, column, vocabulary, confusion, means),
        measures(confusion),
        compare_classes(said, people, list(dict.fromkeys(names.values()))),
    )


def count(verdicts: Sequence[bool | None], labels: Sequence[bool]) -> Confusion:
    """Counts verdicts (None: unknown) against labels, both True for the positive class."""
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
    matrix = [[tp, fp], [fn, tn]]  # by verdict and label; F1 and kappa are the same by either
    drawn = resample(matrix, resamples, seed)
    return {
        "accuracy": proportion(tp + tn, confusion.judged),
        "precision": proportion(tp, tp + fp),
        "sensitivity": proportion(tp, tp + fn),
        "specificity": proportion(tn, tn + fp),
        "f1": bootstrapped(lambda weights: f1(weights)[0], matrix, drawn),
        "kappa": bootstrapped(kappa, matrix, drawn),
    }
