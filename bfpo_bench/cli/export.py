"""``bfpo-bench export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bfpo_bench.cli.command import command_app

EXAMPLE = """
Examples:

  bfpo-bench export runs/my-model --format jsonl

  bfpo-bench export runs/my-model --format parquet --output my-model.parquet

  bfpo-bench export runs/my-model --format lm-eval --output lm-eval-results

The run is only looked at: it may be under way. docs/export.md describes the columns.
"""


app = command_app()


@app.command(epilog=EXAMPLE)
def export(
    run: Annotated[Path, typer.Argument(help="Run directory, finished or not.")],
    format: Annotated[str, typer.Option(help="jsonl, parquet, csv or lm-eval.")] = "jsonl",
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write; for lm-eval, the folder of its results. "
            "[default: named after the run, in this folder]"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write a run's samples for other tools: one row per item with prompt, response,
    log-likelihoods and verdicts.
    """
    from bfpo_bench.cli.terminal import say
    from bfpo_bench.export import export_run

    done = export_run(run, format, output, force)
    for note in done.notes:
        say(f"Note: {note}", err=True)
    say(f"{done.samples} samples: {done.path}")
