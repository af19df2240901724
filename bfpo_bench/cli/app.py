"""The commands of ``bfpo-bench``."""

from __future__ import annotations

import importlib

import typer

app = typer.Typer(
    name="bfpo-bench",
    help="How safe and how helpful is a language model? The benchmark of the BFPO paper.",
    epilog="Any command takes --debug to show the traceback of a failure.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

for _command in (
    *("evaluate", "judge", "leaderboard", "compare", "export", "tasks"),
    *("train", "redteam", "demo", "illustrate"),
):
    importlib.import_module(f"bfpo_bench.cli.{_command}").register(app)

for _group in ("helpfulness", "judges", "data"):
    app.add_typer(importlib.import_module(f"bfpo_bench.cli.{_group}").app, name=_group)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from importlib import metadata

        typer.echo(f"bfpo-bench {metadata.version('bfpo-bench')}")
        raise typer.Exit
