"""``bfpo-bench export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bfpo_bench.cli.command import command_app
from bfpo_bench.export import FORMATS

EXAMPLE = """
Examples:

  bfpo-bench export runs/my-model --format jsonl

  bfpo-bench export runs/my-model --format parquet --output my-model.parquet

  bfpo-bench export runs/* --format lm-eval --output lm-eval-results

  bfpo-bench export runs/my-model --format inspect --output logs

  bfpo-bench export runs/my-model --format eee --aggregate-only

  bfpo-bench export runs/my-model --format hub --output my-model

A run is only looked at: it may be under way. One of several that cannot be exported is named and
left out (exit code 1; 2 where none is left). docs/export.md describes the columns.
"""


app = command_app()


@app.command(epilog=EXAMPLE)
def export(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, finished or not.")],
    format: Annotated[
        str, typer.Option(help=f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    ] = "jsonl",
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write; of several runs, and for formats of several files, their folder. "
            "[default: named after the run, in this folder]"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    aggregate_only: Annotated[
        bool,
        typer.Option("--aggregate-only", help="Of eee: the numbers, no prompts and responses."),
    ] = False,
) -> None:
    """Write runs for other tools: one row per item with prompt, response, log-likelihoods and
    verdicts; logs of lm-eval and inspect_ai; records of Every Eval Ever; what the hub shows.
    """
    from bfpo_bench.cli.terminal import say
    from bfpo_bench.common.errors import BenchError
    from bfpo_bench.common.progress import logged
    from bfpo_bench.export import file_of

    if format not in FORMATS or len(runs) == 1:
        _export(runs[0], format, output, force, aggregate_only)
        return
    left_out = 0
    with logged("exporting", len(runs), "runs") as stage:
        for run in runs:
            place = output
            if output is None or format != "lm-eval":  # which makes a folder for each model itself
                place = (output or Path()) / file_of(run, format, runs)
            try:
                _export(run, format, place, force, aggregate_only)
            except BenchError as error:
                # One that cannot be had costs none of the others.
                say(f"bfpo-bench: {error}", err=True)
                left_out += 1
            stage.advance(1)
    if left_out:
        raise typer.Exit(1 if left_out < len(runs) else 2)


def _export(run: Path, format: str, output: Path | None, force: bool, aggregate_only: bool) -> None:
    from bfpo_bench.cli.terminal import say
    from bfpo_bench.export import export_run

    done = export_run(run, format, output, force, aggregate_only)
    for note in done.notes:
        say(f"Note: {note}", err=True)
    say(f"{done.samples} {'numbers' if done.numbers_only else 'samples'}: {done.path}")
