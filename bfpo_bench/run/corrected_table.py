"""Numbers corrected by people's labels below the judge's own, for the terminal and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bfpo_bench.run import small_table
from bfpo_bench.run.results import Results

if TYPE_CHECKING:
    from rich.table import Table

_TITLES = (
    "Corrected by people's labels (%)",
    "By the judge",
    "Corrected",
    "95 % interval",
    "Labels",
)


def markdown(results: Results) -> list[str]:
    """The lines of a table; none without labels."""
    return small_table.markdown(_TITLES, _rows(results))


def terminal(results: Results) -> list[Table]:
    """The same for rich."""
    return small_table.terminal(_TITLES, _rows(results))


def _rows(results: Results) -> list[tuple[str, ...]]:
    corrected = results.corrected
    if corrected is None:
        return []
    return [
        (
            *(one.title, f"{one.judged:.2f}", f"{one.value:.2f}"),
            *(f"{one.low:.2f} to {one.high:.2f}", str(one.labelled)),
        )
        for one in (*corrected.tasks.values(), *corrected.averages.values())
    ]
