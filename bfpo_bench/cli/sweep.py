"""``bfpo-bench sweep``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from bfpo_bench.cli.command import command_app, takes
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.sweeps.options import SweepOptions
from bfpo_bench.sweeps.rows import NOT_HERE

EXAMPLE = """
Examples:

  bfpo-bench sweep models/* --suite mini --judge keyword

  bfpo-bench sweep models.yaml --tasks disc --output runs/disc

  bfpo-bench sweep my-training --checkpoints --executor slurm --partition gpu --time 8:00:00

  bfpo-bench sweep models.yaml --executor ray --ray auto

  bfpo-bench sweep models.yaml --executor slurm --dry-run

  bfpo-bench sweep status runs/disc

The same command again runs what is missing. A model that fails costs its row (exit code 1).
`sweep status DIR` says what is done, running and failed, and why. See docs/sweep.md.
"""


app = command_app()


@app.command(epilog=EXAMPLE)
@takes(
    EvaluateOptions,
    SweepOptions,
    first=("output", "dry_run", "executor", "checkpoints", "suite", "tasks", "limit", "judge"),
    without=NOT_HERE,
    fixed={"model": ""},
)
def sweep(
    common: EvaluateOptions,
    options: SweepOptions,
    models: Annotated[
        list[str], typer.Argument(help="Folders, globs, hub ids, YAML files; or: status DIR.")
    ],
    output: Annotated[Path, typer.Option(help="Folder of the run directories.")] = Path("runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be run; run and fetch nothing.")
    ] = False,
) -> None:
    """Evaluate many models, each as evaluate does, and put them into one table."""
    from bfpo_bench.cli.terminal import say, set_log_level
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.common.text import visible
    from bfpo_bench.sweeps.run import find_sweep, run_sweep

    set_log_level("warning")
    if models[0] == "status":
        _status(models[1:], output)
        return
    if dry_run:
        found = find_sweep(models, common, options, output, fetch=False)
        typer.echo(visible(found.described()))
        return
    board = run_sweep(models, common, options, output, Progress())
    if options.detach:
        say(f"Submitted; `bfpo-bench sweep status {output}` says how it stands.")
        return
    from bfpo_bench.cli.leaderboard import end_with, print_board

    print_board(board)
    end_with(board)


def _status(folders: list[str], output: Path) -> None:
    """Prints how a sweep stands."""
    from bfpo_bench.cli.terminal import print_rows
    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.sweeps.record import Home, counted
    from bfpo_bench.sweeps.run import standings

    if len(folders) > 1:
        raise BadInput("name one folder of a sweep: bfpo-bench sweep status DIR.")
    home = Home(Path(folders[0]) if folders else output)
    found = standings(home)
    rows = [
        [one.name, one.state, _clock(one.seconds), f"{home.log(one.name)}", one.why]
        for one in found
    ]
    print_rows(counted(found), ("Run", "State", "Time", "Log", "Why"), rows)


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else str(timedelta(seconds=round(seconds)))
