"""``bfpo-bench import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bfpo_bench.cli.command import command_app, takes
from bfpo_bench.imports.options import ImportOptions

EXAMPLE = """
Examples:

  bfpo-bench import logs/*.eval --output runs/theirs

  bfpo-bench import results_2026-01-01.json samples_*_2026-01-01.jsonl

  bfpo-bench import completions.json --model org/model --task harmbench_standard

  bfpo-bench import mine.jsonl --model mine --prompt-field question --response-field answer

Judge what was imported with `bfpo-bench judge RUN --judge NAME`; then it is a row of `leaderboard`,
with notes that say what its files do not. docs/export.md describes the formats.
"""


app = command_app()


@app.command(epilog=EXAMPLE)
@takes(ImportOptions, first=("output", "format", "model", "task"))
def import_(
    options: ImportOptions,
    files: Annotated[list[Path], typer.Argument(help="Files with the answers of one model.")],
) -> None:
    """Make a run directory of responses made elsewhere, to be judged and put into a table: of
    inspect_ai, lm-eval, HarmBench, AdversariaLLM, or of JSON lines.
    """
    from bfpo_bench.cli.terminal import say
    from bfpo_bench.imports import import_files

    done = import_files(files, options)
    say(f"{done.samples} answers: {done.path}")
    if not done.judged:
        say(f"Judge them with `bfpo-bench judge {done.path} --judge NAME`.")
