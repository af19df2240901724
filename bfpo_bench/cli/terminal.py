"""How commands print: nothing that comes from outside steers the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bfpo_bench.common.errors import unknown_name
from bfpo_bench.common.text import sentence, visible
from bfpo_bench.run.results import Results

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console


def screen(piped_width: int | None = None) -> Console:
    """Standard output for rich's tables and texts, with :func:`visible` characters only.

    Args:
        piped_width: columns where it is no terminal: in a file or a pager there is no screen to
            fit.
    """
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Screen(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for text, style, control in super().render(renderable, options):
                yield Segment(text if control else visible(text), style, control)

    screen = Screen(highlight=False)
    piped = piped_width is not None and not screen.is_terminal
    return Screen(highlight=False, width=piped_width) if piped else screen


def print_rows(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table where it fits the terminal; else each row's first cell, and under it the others."""
    from rich.measure import Measurement
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title))
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    out = screen(piped_width=200)
    wide = out.options.update(max_width=1_000)
    if not out.is_terminal or Measurement.get(out, wide, table).maximum <= out.width:
        out.print(table)
        return
    out.print(Text(title, style="italic"))
    for row in rows:
        out.print(Text(row[0], style="bold"))
        cells = zip(heads[1:], row[1:], strict=True)
        text = " · ".join(f"{head}: {cell}" for head, cell in cells if cell)
        out.print(Padding(Text(text), (0, 0, 0, 2)))


def say(text: str, err: bool = False) -> None:
    """One sentence on standard output, or on standard error."""
    typer.echo(sentence(text), err=err)


def show_results(results: Results, folder: Path) -> None:
    """Prints the row and where its files lie."""
    from bfpo_bench.run.table import terminal

    console = screen()
    console.print(terminal(results))
    # soft_wrap keeps paths in one piece, so that they can be copied.
    console.print(
        f"Files: {folder}/table.md, results.json, samples.sqlite, run.json",
        soft_wrap=True,
        markup=False,
    )


def set_log_level(name: str) -> None:
    """Sends log messages of that level and above to standard error.

    Raises:
        BadInput: no such level.
    """
    import logging

    levels = ("debug", "info", "warning", "error")
    if name.lower() not in levels:
        raise unknown_name("log level", name, levels)
    logging.basicConfig(level=name.upper(), format="%(levelname)s %(name)s: %(message)s")
