"""``bfpo-bench leaderboard``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bfpo_bench.cli.command import as_typed, command_app, takes
from bfpo_bench.leaderboard.options import FILES, FORMATS, LeaderboardOptions, check_format

if TYPE_CHECKING:
    from bfpo_bench.leaderboard.board import Leaderboard

EXAMPLE = """
Examples:

  bfpo-bench leaderboard runs/* --published

  bfpo-bench leaderboard runs/* --full --transposed --ci --format latex --output table.tex

  bfpo-bench leaderboard runs/* --columns balance --baselines --pictures pictures/

  bfpo-bench leaderboard runs/* --published --format html --output report/

  bfpo-bench leaderboard runs/* --full --ci --report-to wandb

  bfpo-bench leaderboard runs --published --update leaderboard/README.md

A run that fails its check, and a folder that is no finished run, is named and left out; the rest
prints (exit code 1). Exit code 2 where no run is left.
"""


app = command_app()


@app.command(epilog=EXAMPLE)
@takes(LeaderboardOptions)
def leaderboard(
    options: LeaderboardOptions,
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run directories, or folders of them.")
    ] = None,
    format: Annotated[str, typer.Option(help=f"{', '.join(FORMATS[:-1])} or html.")] = "terminal",
    output: Annotated[
        Path | None, typer.Option(help="File to write (html: folder). [default: print]")
    ] = None,
    update: Annotated[
        Path | None,
        typer.Option(help="Markdown file whose table is refreshed in place, between its markers."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for the pictures too, as PNG and SVG.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over an output file that is there.")
    ] = False,
) -> None:
    """Put runs into one table, next to the paper's rows."""
    from contextlib import ExitStack

    from bfpo_bench.cli.terminal import say
    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.common.files import atomic_folder, new_file, owned
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.leaderboard.board import read_leaderboard
    from bfpo_bench.leaderboard.tracked import report_board

    check_format(format)
    if format in FILES and output is None:
        kind = "a report is a folder" if format == "html" else f"{format} is no text"
        raise BadInput(f"{kind}: name it with --output.")
    if update is not None and (output is not None or format not in ("terminal", "markdown")):
        raise BadInput(
            "--update writes Markdown into its own file; leave --format and --output out."
        )
    if pictures is not None and pictures.exists() and not pictures.is_dir():
        raise BadInput(f"{pictures} is a file; name a folder for the pictures.")
    published = options.published
    if format == "html" or pictures is not None:
        # Reports and pictures show how sure a number is.
        options = replace(options, ci=True, published=published or format == "html")
    with ExitStack() as outputs:
        # Who comes second is told so before the runs are read.
        if output is not None:
            html = format == "html"
            place = owned(output) if html else new_file(output, force, read=[options.judge_check])
            outputs.enter_context(place)
        if update is not None:
            with as_typed({"output": "update"}):
                place = new_file(update, force=True, read=[options.judge_check])
                outputs.enter_context(place)
        board = read_leaderboard(runs or [], options)
        if update is not None:
            from bfpo_bench.leaderboard.render.update import update_file

            changed = update_file(update, board.render("markdown"))
            say(f"{update}: {'refreshed' if changed else 'nothing to change'}.")
        elif format == "html":
            from bfpo_bench.leaderboard.report.write import write_report

            assert output is not None
            page = write_report(
                *(board.entries, output),
                full=options.full,
                published=published,
                columns=options.columns,
            )
            say(f"Report: {page}")
        else:
            print_board(board, format, output)
        if pictures is not None:
            from bfpo_bench.leaderboard.plots.draw import draw_all

            with atomic_folder(pictures, force=True) as staged:
                drawn = draw_all(board.entries, staged)
            for picture in drawn:
                say(f"Picture: {pictures / picture.name}", err=True)
    report_board(board, Progress())
    end_with(board)


def print_board(board: Leaderboard, format: str = "terminal", output: Path | None = None) -> None:
    """Prints a table in a format, or writes it to a file."""
    import io
    import shutil
    import sys

    from bfpo_bench.common.text import visible

    if output is not None:
        from bfpo_bench.cli.terminal import say
        from bfpo_bench.common.files import atomic_write
        from bfpo_bench.common.foreign import place_of

        content: str | bytes
        if format == "parquet":
            file = io.BytesIO()
            board.to_frame().to_parquet(file, index=False)
            content = file.getvalue()
        else:
            content = board.render(format)
        atomic_write(place_of(output), content)
        say(f"Table: {output}")
        return
    width = shutil.get_terminal_size((100, 24)).columns
    styled = format == "terminal" and sys.stdout.isatty()
    content = board.render(format, width, styled)
    typer.echo(content if styled else visible(content), nl=False)


def end_with(board: Leaderboard) -> None:
    """Says what went wrong on standard error; ends with its exit code."""
    from bfpo_bench.cli.terminal import say

    for sentence in (*board.remarks, *board.problems, *board.faults):
        say(f"bfpo-bench: {sentence}", err=True)
    if board.problems or board.faults:
        left = any(one.kind == "measured" and one.fault is None for one in board.entries)
        raise typer.Exit(1 if left else 2)
