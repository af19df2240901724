"""``bfpo-bench train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bfpo_bench.cli.options import Device, TrustRemoteCode

EXAMPLE = """
Examples:

  bfpo-bench train --method bfpo --model ./mistral-sft --output models/bfpo --evaluate

  bfpo-bench train --recipe zephyr-redteam/bfpo --set data.0.files=[pairs.jsonl] --dry-run

  bfpo-bench train --recipe my.yaml --set optimization.learning_rate=1e-6

On several GPUs: accelerate launch -m bfpo_bench train … (docs/training.md).
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    app.command(
        "train",
        help="Train a model by a recipe; with --evaluate, print its row too.",
        short_help="Train a baseline by a recipe",
        epilog=EXAMPLE,
    )(train)


def train(
    method: Annotated[
        str | None, typer.Option(help="A recipe of the paper's Mistral rows: bfpo, dpo, ipo, sft …")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Any recipe, by name (mistral/bfpo) or path of a YAML file.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model to start from: folder or hub id. [default: recipe's]")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the checkpoint. [default: models/<method>]")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value of the recipe, dots for nested keys. Repeatable."),
    ] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Evaluate the result, into runs/<method>.")
    ] = False,
    suite: Annotated[str, typer.Option(help="Suite for --evaluate.")] = "paper",
    judge: Annotated[
        str | None, typer.Option(help="Judge for --evaluate. [default: the suite's]")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of upstream evaluation data for --evaluate.")
    ] = None,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show recipe, pairs, tokens and memory; load no weights."),
    ] = False,
) -> None:
    """Train a model by a recipe; with --evaluate, print its row too."""
    import os

    from bfpo_bench.cli.show import set_log_level
    from bfpo_bench.errors import BadInput
    from bfpo_bench.progress import Progress
    from bfpo_bench.training.recipe import load_recipe

    if (method is None) == (recipe is None):
        raise BadInput("give either --method or --recipe; see bfpo-bench train --help.")
    set_log_level("warning")
    resolved = load_recipe(recipe or f"mistral/{method}", changes or [], base=model)
    folder = output or Path("models") / resolved.method
    progress = Progress()
    if dry_run:
        from bfpo_bench.training.look import look

        typer.echo(look(resolved, folder, progress, trust_remote_code))
        return
    from bfpo_bench.training.start import train as run

    progress.say(f"Training {resolved.method} from {resolved.base} …")
    run(resolved, folder, progress, device, trust_remote_code)
    if os.environ.get("RANK", "0") != "0":
        return  # of several processes one goes on
    typer.echo(f"The model is in {folder}; training.json in it says how it was made.")
    if evaluate:
        from bfpo_bench.cli.show import show_results
        from bfpo_bench.evaluation import run_evaluation
        from bfpo_bench.options import EvaluateOptions
        from bfpo_bench.request import output_folder

        options = EvaluateOptions(
            model=str(folder), suite=suite, judge=judge, data_dir=data_dir, device=device
        )
        show_results(run_evaluation(options, progress), output_folder(options))
