"""``bfpo-bench leaderboard``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bfpo_bench.cli.command import command_app

if TYPE_CHECKING:
    from bfpo_bench.leaderboard.board import Leaderboard

EXAMPLE = """
Examples:

  bfpo-bench leaderboard runs/* --published

  bfpo-bench leaderboard runs/* --full --transposed --ci --format latex --output table.tex

  bfpo-bench leaderboard runs/* --published --format html --output report/

  bfpo-bench leaderboard runs --published --update leaderboard/README.md

A run that fails its check is named and left out of the ranking (exit code 1); a folder that is no
finished run is named too (exit code 2). The rest prints.
"""


app = command_app()


@app.command(epilog=EXAMPLE)
def leaderboard(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run directories, or folders of them.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="The paper's 19 rows too, set apart.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Every task instead of the summary.")
    ] = False,
    format: Annotated[
        str, typer.Option(help="terminal, markdown, latex, csv, json or html.")
    ] = "terminal",
    output: Annotated[
        Path | None, typer.Option(help="File to write (html: folder). [default: print]")
    ] = None,
    update: Annotated[
        Path | None,
        typer.Option(help="Markdown file whose table is refreshed in place, between its markers."),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(help="Column, by key or title, or name. [default: savg]")
    ] = None,
    ci: Annotated[bool, typer.Option("--ci", help="Show 95 % intervals.")] = False,
    transposed: Annotated[
        bool, typer.Option("--transposed", help="Models side by side, tasks below each other.")
    ] = False,
    crows_pairs: Annotated[
        str, typer.Option(help="distance adds a Disc. that rewards CrowS-Pairs near 50.")
    ] = "paper",
    judge: Annotated[
        str | None, typer.Option(help="Show this judge's verdicts. [default: each run's own]")
    ] = None,
    judge_check: Annotated[
        Path | None,
        typer.Option(help="Output of `judges check`: adds Gen. corrected for the judge's errors."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for the pictures too, as PNG and SVG.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Write over an output file that is there.")
    ] = False,
) -> None:
    """Put runs into one table, next to the paper's rows."""
    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.common.files import refuse_file_of_run
    from bfpo_bench.leaderboard.board import Options, check_format, read_leaderboard

    check_format(format)
    if format == "html" and output is None:
        raise BadInput("a report is a folder: name it with --output.")
    if update is not None and (output is not None or format not in ("terminal", "markdown")):
        raise BadInput(
            "--update writes Markdown into its own file; leave --format and --output out."
        )
    if output is not None and format != "html" and output.exists() and not force:
        raise BadInput(f"{output} is there already; name another --output, or --force.")
    for place in (output, update):
        if place is not None and format != "html":
            refuse_file_of_run(place)
    if pictures is not None and pictures.exists() and not pictures.is_dir():
        raise BadInput(f"{pictures} is a file; name a folder for the pictures.")
    options = Options(
        published=published or format == "html",
        full=full,
        # Reports and pictures show how sure a number is.
        ci=ci or format == "html" or pictures is not None,
        sort=sort,
        transposed=transposed,
        crows_pairs=crows_pairs,
        judge=judge,
        judge_check=judge_check,
        seed=seed,
    )
    board = read_leaderboard(runs or [], options)
    if update is not None:
        from bfpo_bench.leaderboard.render.update import update_file

        changed = update_file(update, board.render("markdown"))
        typer.echo(f"{update}: {'refreshed' if changed else 'nothing to change'}.")
    elif format == "html":
        from bfpo_bench.leaderboard.report.write import write_report

        assert output is not None
        page = write_report(board.entries, output, full=full, published=published)
        typer.echo(f"Report: {page}")
    else:
        _write(board, format, output)
    if pictures is not None:
        from bfpo_bench.leaderboard.plots.draw import draw_all

        for picture in draw_all(board.entries, pictures):
            typer.echo(f"Picture: {picture}", err=True)
    _end(board)


def _write(board: Leaderboard, format: str, output: Path | None) -> None:
    import shutil
    import sys

    if output is not None:
        from bfpo_bench.common.files import atomic_write

        atomic_write(output, board.render(format))
        typer.echo(f"Table: {output}")
        return
    width = shutil.get_terminal_size((100, 24)).columns
    styled = format == "terminal" and sys.stdout.isatty()
    typer.echo(board.render(format, width, styled), nl=False)


def _end(board: Leaderboard) -> None:
    """Says what went wrong on standard error; ends with its exit code."""
    for sentence in (*board.remarks, *board.problems, *board.faults):
        typer.echo(f"bfpo-bench: {sentence}", err=True)
    if board.problems:
        raise typer.Exit(2)
    if board.faults:
        raise typer.Exit(1)
