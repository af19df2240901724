"""What a command prints when a run is done."""

from __future__ import annotations

from pathlib import Path

from bfpo_bench.common.errors import unknown_name
from bfpo_bench.run.results import Results


def show_results(results: Results, folder: Path) -> None:
    """Prints the row and where its files lie."""
    from rich.console import Console

    from bfpo_bench.run.table import terminal

    console = Console(highlight=False)
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
