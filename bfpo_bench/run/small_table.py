"""The tables below a run's row, as Markdown and for the terminal: a name, then numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from bfpo_bench.common.text import markdown_text

if TYPE_CHECKING:
    from rich.console import OverflowMethod
    from rich.table import Table


def markdown(
    titles: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = (0,)
) -> list[str]:
    """The lines of a table of foreign texts, an empty one before them; none where it has no rows.

    Args:
        left: columns of words; those of numbers go to the right.
    """
    first, *others = (f"| {' | '.join(map(markdown_text, row))} |" for row in (titles, *rows))
    sides = "".join("---|" if place in left else "---:|" for place in range(len(titles)))
    return ["", first, f"|{sides}", *others] if others else []


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
