"""The commands of ``bfpo-bench``. A command's module is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

from bfpo_bench import __version__

COMMANDS = {
    "evaluate": "Evaluate a model and print its row",
    "sweep": "Evaluate many models into one table",
    "judge": "Judge saved responses again",
    "leaderboard": "Put runs into one table",
    "compare": "Say which differences between runs are real",
    "show": "Look at a run's samples",
    "export": "Write a run for other tools",
    "import": "Make a run of answers that other tools asked for",
    "tasks": "List the tasks of a suite",
    "train": "Train a baseline by a recipe",
    "recipes": "List the recipes, or print one in whole",
    "merge": "Mix the weights of two models, as P-SACPO does",
    "redteam": "Make training pairs of a model's own harmful responses",
    "demo": "See the paper in miniature, in minutes",
    "illustrate": "Show what BFPO, DPO and IPO learn (Section 3.4)",
    "helpfulness": "Import, export and compare AlpacaEval's files",
    "judges": "List the judges, and measure one against people",
    "data": "Show where the data comes from, and check it",
}
"""Each is the ``app`` of the module of its name beside this one."""


_Usage: Any = typer.BadParameter.__base__


class _Commands(TyperGroup):
    """Knows the commands by name; only the one that is run is loaded."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            module = importlib.import_module(f"bfpo_bench.cli.{cmd_name}")
            self.commands[cmd_name] = typer.main.get_command(module.app)
            self.commands[cmd_name].name = cmd_name
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # What typer proposes for a name that there is not is one of those that it holds.
        for name in COMMANDS if args and args[0] not in COMMANDS else ():
            self.commands.setdefault(name, typer.core.TyperCommand(name))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _Usage as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command
                raise
            from bfpo_bench.common.errors import BadInput

            command = error.ctx.command_path if error.ctx else "bfpo-bench"
            said = error.format_message().partition(", unable to parse")[0].rstrip(".")
            said = said.replace("Input should be a valid integer", "it must be a whole number")
            said = said.replace("Input should be a valid number", "it must be a number")
            said = said[:1].lower() + said[1:]
            raise BadInput(f"{said}; see `{command} --help`.") from None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    name="bfpo-bench",
    cls=_Commands,
    help="How safe and how helpful is a language model? The benchmark of the BFPO paper.",
    epilog="Any command takes --debug to show the traceback of a failure.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        typer.echo(f"bfpo-bench {__version__}")
        raise typer.Exit
