"""Measures a judge against people: its verdicts, or those in a file, against the file's labels."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bfpo_bench.common.progress import Progress
from bfpo_bench.common.statistics import CONFIDENCE, RESAMPLES
from bfpo_bench.judges import Exchange, judge_all
from bfpo_bench.judges.agreement import Confusion, Measure, count, measures
from bfpo_bench.judges.chosen import ChosenJudge
from bfpo_bench.judges.human_labels import Labels, Means, Table, majority, read_table

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Agreement:
    """How a judge's verdicts agree with people's labels.

    Attributes:
        judge: identity of the judge; None for verdicts from a column.
        verdict_column: the column the verdicts came from; None for a judge's own.
        means: what 1, true and yes stood for in the columns of ``labels`` and ``verdicts``; None
            where words spoke for themselves.
        measures: by name; see :func:`bfpo_bench.judges.agreement.measures`.
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
