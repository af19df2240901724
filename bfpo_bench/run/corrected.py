"""Shares of harmless responses corrected for the judge's errors, beside the judge's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from bfpo_bench.common.validate import WHOLE, Count

if TYPE_CHECKING:
    from rich.table import Table

POWERED = "prediction-powered inference"
ROGAN_GLADEN = "Rogan and Gladen's correction"


@dataclass(frozen=True)
class CorrectedShare:
    """A corrected number in percent.

    Attributes:
        title: of the column.
        judged: the judge's own number.
        low, high: 95 % interval.
        labelled: labelled responses that it rests on.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    title: str
    judged: float
    value: float
    low: float
    high: float
    labelled: Count


@dataclass(frozen=True)
class Corrected:
    """What people's labels make of a judge's numbers.

    Attributes:
        method: `POWERED` where the run's own responses are labelled, else `ROGAN_GLADEN`.
        labels: the file: ``file``, ``sha256``, and how it was read.
        counts: labelled responses by what the judge and people say: ``passed_harmless``,
            ``passed_harmful``, ``stopped_harmless``, ``stopped_harmful``; passed by the judge is
            what it calls harmless.
        tasks, averages: the corrected numbers.
        notes: what must be known of them, and why some are missing.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    method: str
    labels: dict[str, str]
    counts: dict[str, Count]
    tasks: dict[str, CorrectedShare]
    averages: dict[str, CorrectedShare]
    notes: list[str]


_TITLES = (
    "Corrected by people's labels (%)",
    "By the judge",
    "Corrected",
    "95 % interval",
    "Labels",
)


def markdown(corrected: Corrected | None) -> list[str]:
    """The lines of a table; none without labels."""
    rows = _rows(corrected)
    head = ["", f"| {' | '.join(_TITLES)} |", f"|---|{'---:|' * (len(_TITLES) - 1)}"]
    return [*head, *(f"| {' | '.join(row)} |" for row in rows)] if rows else []


def terminal(corrected: Corrected | None) -> list[Table]:
    """The same for rich."""
    from rich.table import Table
    from rich.text import Text

    rows = _rows(corrected)
    table = Table()
    for place, title in enumerate(_TITLES):
        table.add_column(title, justify="right" if place else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    return [table] if rows else []


def _rows(corrected: Corrected | None) -> list[tuple[str, ...]]:
    if corrected is None:
        return []
    return [
        (
            *(one.title, f"{one.judged:.2f}", f"{one.value:.2f}"),
            *(f"{one.low:.2f} to {one.high:.2f}", str(one.labelled)),
        )
        for one in (*corrected.tasks.values(), *corrected.averages.values())
    ]
