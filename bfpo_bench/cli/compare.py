"""``bfpo-bench compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bfpo_bench.cli.command import command_app

EXAMPLE = """
Examples:

  bfpo-bench compare runs/zephyr runs/zephyr-bfpo

  bfpo-bench compare runs/sft runs/dpo runs/ipo runs/bfpo --format markdown --output compare.md

Every run is compared with the first one. Only runs of the same suite, data and judge are compared;
--force lifts that and says so in the output.
"""


app = command_app()


@app.command(epilog=EXAMPLE)
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Two or more run directories (or folders of one model's seeds)."),
    ],
    format: Annotated[
        str, typer.Option(help="terminal, markdown, latex, csv or json.")
    ] = "terminal",
    output: Annotated[Path | None, typer.Option(help="File to write. [default: print]")] = None,
    margin: Annotated[
        float, typer.Option(help="Percentage points within which models count as alike.")
    ] = 1.0,
    judge: Annotated[
        str | None, typer.Option(help="Use this judge's verdicts. [default: each run's own]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    force: Annotated[
        bool,
        typer.Option("--force", help="Compare what was not measured alike; write over a file."),
    ] = False,
) -> None:
    """Which differences between runs are real? Paired tests, task by task."""
    import shutil
    from contextlib import nullcontext

    from bfpo_bench.common.files import atomic_write, new_file
    from bfpo_bench.common.text import visible
    from bfpo_bench.leaderboard.compare import compare_runs
    from bfpo_bench.leaderboard.render.comparison import check_format, render

    check_format(format)
    with nullcontext() if output is None else new_file(output, force) as place:
        found = compare_runs(runs, force=force, margin=margin, judge=judge, seed=seed)
        if place is not None:
            atomic_write(place, render(found, format))
            typer.echo(f"Comparison: {output}")
            return
    width = shutil.get_terminal_size((100, 24)).columns
    typer.echo(visible(render(found, format, width)), nl=False)
