"""``bfpo-bench train``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bfpo_bench.cli.command import as_typed, command_app, takes
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.models.clock import DATE

if TYPE_CHECKING:
    from bfpo_bench.training.recipe import Recipe

EXAMPLE = """
Examples:

  bfpo-bench train --method bfpo --model ./mistral-sft --output models/bfpo --evaluate

  bfpo-bench train --recipe zephyr-redteam/bfpo --set data.0.files=[pairs.jsonl] --dry-run

  bfpo-bench train --recipe my.yaml --set optimization.learning_rate=1e-6

  bfpo-bench train --recipe my.yaml --report-to wandb

  bfpo-bench train --recipe my.yaml --evaluate --tasks disc --limit 200 --eval-seed 1

On several GPUs: accelerate launch -m bfpo_bench train … (docs/training.md).
"""

RENAMED = {
    name: f"eval_{name}"
    for name in (
        *("output", "seed", "dtype", "batch_size", "max_length", "chat_template", "fresh"),
        "precision",
    )
}
"""Options of evaluate that here would be read as settings of the training."""

SHARED = ("device", "date", "trust_remote_code", "report_to")
"""How the model is loaded and where to report, both for training and for the evaluation."""

NOT_HERE = ("revision", "adapter", "tokenizer", "base_url", "api_key_env")
"""Options of evaluate by which another model than the trained one would be asked."""


app = command_app()


@app.command(epilog=EXAMPLE)
@takes(
    EvaluateOptions,
    first=(
        *("method", "recipe", "model", "output", "changes", "print_recipe", "dry_run", *SHARED),
        *("evaluate", "suite", "eval_output", "tasks", "limit", "judge"),
    ),
    without=NOT_HERE,
    fixed={"model": ""},
    renamed=RENAMED,
)
def train(
    evaluation: EvaluateOptions,
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
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show recipe, pairs, tokens and memory; load no weights."),
    ] = False,
    print_recipe: Annotated[
        bool,
        typer.Option("--print-recipe", help="Print the recipe with all defaults; load nothing."),
    ] = False,
) -> None:
    """Train a model by a recipe; with --evaluate, print its row too.

    What the training is like stands in the recipe. The options after --evaluate are those of
    bfpo-bench evaluate; where one would be read as a setting of the training, --eval- stands
    before its name (--eval-seed: the training's own is --set seed=NUMBER).
    """
    import os

    from bfpo_bench.cli.terminal import set_log_level
    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.common.text import visible
    from bfpo_bench.training.recipe_file import as_yaml, load_recipe

    if (method is None) == (recipe is None):
        raise BadInput("give either --method or --recipe; see bfpo-bench train --help.")
    set_log_level("warning")
    loading, changes = evaluation.loading, changes or []
    if loading.date != DATE:
        changes = [*changes, f"tokens.date={loading.date}"]
    resolved = load_recipe(recipe or f"mistral/{method}", changes, base=model)
    if evaluation.report_to:
        resolved = resolved.reported_to(evaluation.report_to)
    if print_recipe:
        typer.echo(visible(as_yaml(resolved.as_dict())), nl=False)
        return
    folder = output or Path("models") / resolved.method
    progress = Progress()
    main = os.environ.get("RANK", "0") == "0"  # of several processes one evaluates
    if not evaluate:
        _refuse_without_evaluation(evaluation)
    elif main:
        evaluation = _checked(evaluation, folder, resolved)
    if dry_run:
        from bfpo_bench.training.dry_run import dry_run as describe

        code = loading.trust_remote_code
        typer.echo(visible(describe(resolved, folder, progress, code, loading.device)))
        return
    from bfpo_bench.cli.terminal import say
    from bfpo_bench.training.output import RECORD
    from bfpo_bench.training.train import train as run

    trained = (folder / RECORD).exists()
    progress.say(f"Training {resolved.method} from {resolved.base} …")
    record = run(resolved, folder, progress, loading.device, loading.trust_remote_code)
    if not main:
        return
    for line in [*record["notes"], *_left_out(record)]:
        say(line)
    before = ", trained before" if trained else ""
    say(f"The model is in {folder}{before}; training.json in it says how it was made.")
    if evaluate:
        from bfpo_bench.cli.terminal import show_results
        from bfpo_bench.evaluation.resolve import output_folder
        from bfpo_bench.evaluation.run import run_evaluation
        from bfpo_bench.evaluation.tracked import report_results

        with as_typed(RENAMED):
            results = run_evaluation(evaluation, progress)
        show_results(results, output_folder(evaluation))
        report_results(evaluation, results, progress)


def _refuse_without_evaluation(evaluation: EvaluateOptions) -> None:
    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.common.options import chosen

    given = [name for name in chosen(evaluation) if name not in ("model", *SHARED)]
    if given:
        flags = " and ".join(f"--{RENAMED.get(one, one).replace('_', '-')}" for one in given)
        raise BadInput(
            f"{flags} would change the evaluation, and none is asked for; add --evaluate, or say "
            "with --set what the training is to be like."
        )


def _checked(evaluation: EvaluateOptions, folder: Path, recipe: Recipe) -> EvaluateOptions:
    """The options of the trained model's evaluation.

    Raises:
        BadInput: it cannot be evaluated so, which is told before the training and not after it.
    """
    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.common.files import owned
    from bfpo_bench.common.foreign import place_of
    from bfpo_bench.evaluation.resolve import output_folder, resolve
    from bfpo_bench.run.directory import refuse_checkpoint

    if evaluation.loading.backend == "openai":
        raise BadInput("the trained model is in no server; --backend is hf or vllm here.")
    found = replace(
        evaluation,
        model=str(folder),
        loading=replace(evaluation.loading, date=recipe.tokens.date),
    )
    place = output_folder(found)
    if place_of(place) == place_of(folder):
        raise BadInput(f"{place} is where the model goes; name another --eval-output.")
    refuse_checkpoint(place)
    with as_typed(RENAMED):
        with owned(place, inside=True):
            pass  # it can be written, and nobody else works in it
        if recipe.base is not None:
            resolve(replace(found, model=recipe.base, output=place))
    return found


def _left_out(record: dict[str, Any]) -> list[str]:
    """What did not go into a training as it stood in the data, a line for each set."""
    lines = []
    for one in record["data"]:
        counts = {
            "bad rows left out (training.json names them)": one.get("left_out", 0),
            "prompts too long, left out": one.get("too_long", 0),
            "cut to fit": one.get("cut", 0),
            "dropped by the pair rule": one.get("dropped", 0),
        }
        said = [f"{count:,} {what}" for what, count in counts.items() if count]
        if said:
            lines.append(f"{one['name']}: {one['rows']:,} rows; {'; '.join(said)}.")
    return lines
