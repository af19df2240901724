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

  bfpo-bench export runs/* --format lm-eval --output lm-eval-results

  bfpo-bench export runs/my-model --format inspect --output logs

A run is only looked at: it may be under way. One of several that cannot be exported is named and
left out (exit code 1; 2 where none is left). docs/export.md describes the columns.
"""


app = command_app()


@app.command(epilog=EXAMPLE)
def export(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, finished or not.")],
    format: Annotated[str, typer.Option(help="jsonl, parquet, csv, lm-eval or inspect.")] = "jsonl",
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write; of several runs, and for lm-eval and inspect, the folder of the "
            "files. [default: named after the run, in this folder]"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write runs' samples for other tools: one row per item with prompt, response,
    log-likelihoods and verdicts.
    """
    from bfpo_bench.cli.terminal import say
    from bfpo_bench.common.errors import BenchError
    from bfpo_bench.common.progress import logged
    from bfpo_bench.export import FORMATS, file_of

    if format not in FORMATS or len(runs) == 1:
        _export(runs[0], format, output, force)
        return
    left_out = 0
    with logged("exporting", len(runs), "runs") as stage:
        for run in runs:
            place = output
            if output is not None and format != "lm-eval":
                place = output / file_of(run, format)
            try:
                _export(run, format, place, force)
            except BenchError as error:
                # One that cannot be had costs none of the others.
                say(f"bfpo-bench: {error}", err=True)
                left_out += 1
            stage.advance(1)
    if left_out:
        raise typer.Exit(1 if left_out < len(runs) else 2)


def _export(run: Path, format: str, output: Path | None, force: bool) -> None:
    from bfpo_bench.cli.terminal import say
    from bfpo_bench.export import export_run

    done = export_run(run, format, output, force)
    for note in done.notes:
        say(f"Note: {note}", err=True)
    say(f"{done.samples} samples: {done.path}")
