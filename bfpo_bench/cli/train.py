"""``bfpo-bench train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bfpo_bench.cli.command import command_app, takes
from bfpo_bench.engines.options import Loading
from bfpo_bench.models.chat import DATE

EXAMPLE = """
Examples:

  bfpo-bench train --method bfpo --model ./mistral-sft --output models/bfpo --evaluate

  bfpo-bench train --recipe zephyr-redteam/bfpo --set data.0.files=[pairs.jsonl] --dry-run

  bfpo-bench train --recipe my.yaml --set optimization.learning_rate=1e-6

On several GPUs: accelerate launch -m bfpo_bench train … (docs/training.md).
"""


app = command_app()


@app.command(epilog=EXAMPLE)
@takes(Loading, only=("device", "date", "trust_remote_code"))
def train(
    loading: Loading,
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
        bool, typer.Option("--evaluate", help="Evaluate the result, into runs/ as evaluate does.")
    ] = False,
    suite: Annotated[str, typer.Option(help="Suite for --evaluate.")] = "paper",
    judge: Annotated[
        str | None, typer.Option(help="Judge for --evaluate. [default: the suite's]")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of upstream evaluation data for --evaluate.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show recipe, pairs, tokens and memory; load no weights."),
    ] = False,
) -> None:
    """Train a model by a recipe; with --evaluate, print its row too."""
    import os
    from dataclasses import replace

    from bfpo_bench.cli.terminal import set_log_level
    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.training.recipe_file import load_recipe

    if (method is None) == (recipe is None):
        raise BadInput("give either --method or --recipe; see bfpo-bench train --help.")
    set_log_level("warning")
    changes = changes or []
    if loading.date != DATE:
        changes = [*changes, f"tokens.date={loading.date}"]
    resolved = load_recipe(recipe or f"mistral/{method}", changes, base=model)
    folder = output or Path("models") / resolved.method
    progress = Progress()
    if dry_run:
        from bfpo_bench.common.text import visible
        from bfpo_bench.training.dry_run import dry_run as describe

        code = loading.trust_remote_code
        typer.echo(visible(describe(resolved, folder, progress, code, loading.device)))
        return
    from bfpo_bench.cli.terminal import say
    from bfpo_bench.training.output import RECORD
    from bfpo_bench.training.train import train as run

    main = os.environ.get("RANK", "0") == "0"  # of several processes one evaluates
    options = None
    if evaluate and main:
        from bfpo_bench.evaluation.options import EvaluateOptions
        from bfpo_bench.evaluation.resolve import resolve

        options = EvaluateOptions(
            model=str(folder),
            suite=suite,
            judge=judge,
            data_dir=data_dir,
            loading=Loading(device=loading.device, date=resolved.tokens.date),
        )
        if resolved.base is not None:
            # What cannot be evaluated is told before the training, not after it.
            resolve(replace(options, model=resolved.base))
    trained = (folder / RECORD).exists()
    progress.say(f"Training {resolved.method} from {resolved.base} …")
    record = run(resolved, folder, progress, loading.device, loading.trust_remote_code)
    if not main:
        return
    for line in [*record["notes"], *_left_out(record)]:
        say(line)
    before = ", trained before" if trained else ""
    say(f"The model is in {folder}{before}; training.json in it says how it was made.")
    if options is not None:
        from bfpo_bench.cli.terminal import show_results
        from bfpo_bench.evaluation.resolve import output_folder
        from bfpo_bench.evaluation.run import run_evaluation

        show_results(run_evaluation(options, progress), output_folder(options))


def _left_out(record: dict[str, Any]) -> list[str]:
    """What did not go into a training as it stood in the data, a line for each set."""
    lines = []
    for one in record["data"]:
        counts = {
            "bad rows left out (training.json names them)": one.get("left_out", 0),
            "prompts too long, left out": one.get("too_long", 0),
            "cut to fit": one.get("cut", 0),
        }
        said = [f"{count:,} {what}" for what, count in counts.items() if count]
        if said:
            lines.append(f"{one['name']}: {one['rows']:,} rows; {'; '.join(said)}.")
    return lines
