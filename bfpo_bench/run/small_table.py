"""The tables below a run's row, as Markdown and for the terminal: a name, then numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import OverflowMethod
    from rich.table import Table


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; none where it has no rows."""
    if not rows:
        return []
    lines = ["", f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def terminal(
    titles: Sequence[str], rows: Sequence[Sequence[str]], overflow: OverflowMethod = "ellipsis"
) -> list[Table]:
    """The same for rich.

    Args:
        overflow: what becomes of a cell that is too wide.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for place, title in enumerate(titles):
        table.add_column(title, justify="right" if place else "left", overflow=overflow)
    for row in rows:
        table.add_row(*map(Text, row))
    return [table] if rows else []
