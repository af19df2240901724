"""``bfpo-bench tasks``."""

from __future__ import annotations

from typing import Annotated

import typer

from bfpo_bench.cli.command import command_app

EXAMPLE = """
Examples:

  bfpo-bench tasks --suite paper

  lm_eval run --include_path $(bfpo-bench tasks --path) --tasks bfpo_disc --model hf \
--model_args pretrained=./my-model
"""


app = command_app()


@app.command(epilog=EXAMPLE)
def tasks(
    suite: Annotated[
        str, typer.Option(help="A suite, a YAML file, or several joined by +.")
    ] = "paper",
    path: Annotated[
        bool, typer.Option("--path", help="Print the folder of the task YAMLs, for lm-eval.")
    ] = False,
) -> None:
    """List the tasks of a suite."""
    from bfpo_bench.suites import TASKS_FOLDER, load_suite

    if path:
        typer.echo(TASKS_FOLDER)
        return
    from bfpo_bench.cli.terminal import print_rows

    chosen = load_suite(suite)
    rows = []
    for task in chosen.everything:
        generation = task.generation
        sampling = ""
        if generation is not None:
            sampling = f"T {generation.temperature}, top-p {generation.top_p}, "
            sampling += f"{generation.max_new_tokens} tokens"
        chat = "yes" if task.chat_template else "no"
        named = (task.task, task.column, task.group, task.metric)
        rows.append((*named, chat, sampling, task.source, str(task.version)))
    print_rows(
        f"suite {chosen.name}, version {chosen.version}, judge {chosen.judge}",
        ("Task", "Column", "Group", "Metric", "Chat", "Sampling", "Source", "Version"),
        rows,
    )
