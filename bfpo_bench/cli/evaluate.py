"""``bfpo-bench evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

from bfpo_bench.cli.command import command_app, takes
from bfpo_bench.evaluation.options import EvaluateOptions

EXAMPLE = """
Examples:

  bfpo-bench evaluate --model mistralai/Mistral-7B-Instruct-v0.2

  bfpo-bench evaluate --model ./my-model --suite mini --judge keyword

  bfpo-bench evaluate --model ./my-model --judge harmbench-mistral-7b,llama-guard-3-8b,wildguard-7b

  bfpo-bench evaluate --model ./my-model --tasks alpaca --annotator openai:gpt-4.1

  bfpo-bench evaluate --model ./my-model --also hellaswag,arc_easy,mmlu

  bfpo-bench evaluate --model ./my-model --report-to wandb,mlflow

  bfpo-bench evaluate --model ./my-model --dry-run --measure

  bfpo-bench evaluate --model ./my-model --tasks disc,advbench --limit 200 --data-dir ./data

  bfpo-bench evaluate --model ./my-model --precision 1.0

Answers are stored in the run directory as they come. Stop it any time; the same command goes on.
"""


app = command_app()


@app.command(epilog=EXAMPLE)
@takes(EvaluateOptions, first=("model", "suite", "output", "tasks", "limit", "precision", "judge"))
def evaluate(
    options: EvaluateOptions,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show prompts, tokens and memory needed; load no weights."),
    ] = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="With --dry-run: load the models, time a short sample, store nothing."
        ),
    ] = False,
    log_level: Annotated[
        str, typer.Option(help="debug, info, warning or error: what libraries may say.")
    ] = "warning",
) -> None:
    """Evaluate a model and print its Disc. / Gen. / Savg. row."""
    from bfpo_bench.cli.terminal import set_log_level
    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.common.progress import Progress

    if measure and not dry_run:
        raise BadInput(
            "--measure goes with --dry-run: together they time a short sample and store nothing; "
            "leave --measure out to evaluate."
        )
    set_log_level(log_level)
    progress = Progress()
    if dry_run:
        from bfpo_bench.common.text import visible
        from bfpo_bench.estimate.dry_run import dry_run as look

        typer.echo(visible(look(options, measure, progress)))
        return
    from bfpo_bench.cli.terminal import show_results
    from bfpo_bench.evaluation.resolve import output_folder
    from bfpo_bench.evaluation.run import run_evaluation
    from bfpo_bench.evaluation.tracked import report_results

    results = run_evaluation(options, progress)
    show_results(results, output_folder(options))
    report_results(options, results, progress)
