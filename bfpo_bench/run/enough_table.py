"""What a run with a precision took, and how near its numbers are to those of all items."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bfpo_bench.run import small_table
from bfpo_bench.run.results import Results, TaskResult

if TYPE_CHECKING:
    from rich.table import Table

_TITLES = ("Just enough items", "Over all items (95 %)", "Known to", "Asked")


def precision_mark(precision: float, cells: Iterable[TaskResult]) -> str:
    """How the items of a run were chosen, and what share of everything they took."""
    parts = [cell.enough for cell in cells if cell.enough is not None]
    requests, characters = (
        100 * sum(some) / max(sum(everything), 1)
        for some, everything in (
            ([one.requests for one in parts], [one.all_requests for one in parts]),
            ([one.characters for one in parts], [one.all_characters for one in parts]),
        )
    )
    return (
        "just enough items: each task was asked, in an order drawn by the seed, until the score of "
        f"all its items was known to ±{precision:g} with 95 % confidence; that took "
        f"{requests:.0f} % of all requests, {characters:.0f} % of their text"
    )


def markdown(results: Results) -> list[str]:
    """The lines of a table; none of a run without a precision."""
    return small_table.markdown(_TITLES, _rows(results))


def terminal(results: Results) -> list[Table]:
    """The same for rich."""
    return small_table.terminal(_TITLES, _rows(results))


def _rows(results: Results) -> list[list[str]]:
    """By task: the interval of all its items' score, its larger half, and what was asked."""
    found = []
    for cell in results.tasks.values():
        enough = cell.enough
        if enough is None:
            continue
        between = known = "–"
        if cell.score is not None and enough.low is not None and enough.high is not None:
            between = f"{enough.low:.2f} to {enough.high:.2f}"
            known = f"±{max(enough.high - cell.score, cell.score - enough.low):.2f}"
        asked = f"{cell.n} of {cell.items} ({100 * cell.n / cell.items:.0f} %)"
        found.append([cell.column, between, known, asked])
    return found
