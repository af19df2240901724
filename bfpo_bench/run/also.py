"""What lm-eval's own tasks have found in a run (``--also``), as ``results.json`` keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import ConfigDict

from bfpo_bench.common.validate import WHOLE, Count


@dataclass(frozen=True)
class AlsoMetric:
    """One metric of a task, or of a group of tasks.

    Attributes:
        metric, filter: as lm-eval names them, e.g. ``"exact_match"`` and ``"strict-match"``.
        value: lm-eval's own figure, in its unit; None where it is no number.
        stderr: lm-eval's, or of its bootstrap with 1,000 resamples; None where there is none.
        low, high: 95 % interval, of the same unit; None where there is none.
        n: items that have a value.
        higher_is_better: None where lm-eval does not say.
        share: whether it is a mean of values from 0 to 1, which tables show in percent.
        mean: whether it is the mean of its items' values, so that runs can be paired by item.
        weighted: of a group: whether its tasks count by their size.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    metric: str
    filter: str
    value: float | None
    stderr: float | None
    low: float | None
    high: float | None
    n: Count
    higher_is_better: bool | None
    share: bool
    mean: bool
    weighted: bool = True

    @property
    def key(self) -> str:
        """lm-eval's name of it, e.g. ``acc,none``."""
        return f"{self.metric},{self.filter}"

    @property
    def scale(self) -> int:
        """What tables multiply it by."""
        return 100 if self.share else 1

    def shown(self, value: float | None) -> float | None:
        """A figure of it as tables show it."""
        return None if value is None else self.scale * value


@dataclass(frozen=True)
class AlsoResult:
    """A task or group of lm-eval's in a run.

    Attributes:
        title: what it is called in tables.
        asked: whether it was asked for by itself, and not only as part of a group.
        parts: tasks and groups right in it; empty for a task.
        leaves: every task in it; empty for a task.
        examples: before each question (``num_fewshot``); None for a group.
        n: items asked; ``items`` is how many there are.
        cut: items whose prompt was cut on the left to fit the context window.
        data: where the documents came from, in words.
        notes: what a reader must know of these numbers.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    task: str
    title: str
    asked: bool
    parts: list[str]
    leaves: list[str]
    version: str
    examples: int | None
    chat_template: bool
    n: Count
    items: Count
    cut: Count
    data: str
    metrics: list[AlsoMetric]
    notes: list[str] = field(default_factory=list)

    def column(self, metric: AlsoMetric) -> str:
        """The title of one of its metrics; lm-eval's filter where there is one."""
        named = "" if metric.filter == "none" else f" ({metric.filter})"
        return f"{self.title} {metric.metric}{named}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "metrics": [vars(metric) for metric in self.metrics]}


def lines(also: dict[str, AlsoResult]) -> list[tuple[str, str, str, str]]:
    """Title, figure with its standard error, interval and items, as tables of a run show them.

    A share is in percent, and says so: the other figures are in lm-eval's own units.
    """
    found = []
    for result, metric in shown(also):
        unit = " %" if metric.share and metric.value is not None else ""
        value, error, low, high = (
            "–" if figure is None else f"{metric.shown(figure):.2f}"
            for figure in (metric.value, metric.stderr, metric.low, metric.high)
        )
        text = value if metric.value is None or metric.stderr is None else f"{value} ± {error}"
        between = "" if metric.low is None else f"{low} to {high}"
        items = str(metric.n) if result.n == result.items else f"{metric.n} of {result.items}"
        found.append((result.column(metric), text + unit, between, items))
    return found


def notes(also: dict[str, AlsoResult]) -> list[str]:
    """What must be known of what tables show of it."""
    asked = [result for result in also.values() if result.asked]
    inside = {leaf for result in asked for leaf in result.leaves}
    plain = [result.title for result in asked if not result.chat_template]
    chat = [result.title for result in asked if result.chat_template]
    found = [
        f"Also: {', '.join(some)} asked {how}, as lm-eval asks it, in no average"
        for some, how in ((plain, "plainly"), (chat, "through the chat template"))
        if some
    ]
    told = [one for name, one in also.items() if one.asked or name in inside]
    return [*found, *(f"{result.title}: {note}" for result in told for note in result.notes)]


def shown(also: dict[str, AlsoResult]) -> Iterator[tuple[AlsoResult, AlsoMetric]]:
    """What tables show: the metrics of all that was asked for by itself, in that order."""
    for result in also.values():
        if result.asked:
            yield from ((result, metric) for metric in result.metrics)
