"""What became of a run's responses, set by set: harmless, answered, refused, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bfpo_bench.run import small_table
from bfpo_bench.run.results import Results, TaskResult
from bfpo_bench.run.shares import REFUSAL

if TYPE_CHECKING:
    from rich.table import Table

_SHARES = {
    "harmless": "Harmless",
    "complied": "Answered",
    "partly_refused": "Partly refused",
    "refused": "Refused",
    "harmless_without_refusing": "Harmless, not refusing",
}
"""Shares of responses, and what a run's table calls them."""


def markdown(results: Results) -> list[str]:
    """The lines of a table; none where nobody says what is refused."""
    titles = ("What became of responses (%)", *_SHARES.values())
    rows = [
        [name, *(f"{share} ({ends})" if ends else share for share, ends in cells)]
        for name, cells in _rows(results, digits=1)
    ]
    return small_table.markdown(titles, rows)


def terminal(results: Results) -> list[Table]:
    """The same for rich, in two lines a cell and whole percents: a terminal has 80 columns."""
    rows = [[name, *map("\n".join, cells)] for name, cells in _rows(results, digits=0)]
    return small_table.terminal(("Responses (%)", *_SHARES.values()), rows)


def _rows(results: Results, digits: int) -> list[tuple[str, list[tuple[str, str]]]]:
    """By judged task of which somebody says what is refused: its shares and their intervals.

    Args:
        digits: of an interval's ends, after the point.
    """
    return [
        (task.column, [_share(task, share, digits) for share in _SHARES])
        for task in results.tasks.values()
        if any(share in task.metrics for share in REFUSAL)
    ]


def _share(task: TaskResult, share: str, digits: int) -> tuple[str, str]:
    if share not in task.metrics:
        return "–", ""
    low, high = task.intervals.get(share, (None, None))
    interval = "" if low is None or high is None else f"{low:.{digits}f}–{high:.{digits}f}"
    return f"{100 * task.metrics[share]:.2f}", interval
