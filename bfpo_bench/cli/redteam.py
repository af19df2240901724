"""``bfpo-bench redteam``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bfpo_bench.cli.command import command_app, takes
from bfpo_bench.redteam.request import RedteamOptions

if TYPE_CHECKING:
    from bfpo_bench.redteam import Summary

EXAMPLE = """
Examples:

  bfpo-bench redteam --model ./my-model --prompts prompts.csv --judge harmbench-llama2-13b \
--ranker pairrm --output pairs.jsonl

  bfpo-bench redteam --model ./my-model --prompts prompts.csv --judge keyword --ranker length \
--limit 20 --output trial.jsonl

  bfpo-bench redteam --model ./my-model --prompts advbench --data-dir ./data --judge keyword \
--ranker reward:./my-reward-model --output pairs.jsonl

  bfpo-bench redteam --model ./my-model --prompts behaviors.csv --category-column \
SemanticCategory --max-per-category 200 --judge llama-guard-3-8b --ranker openai:my-chat-model \
--ranker-url http://localhost:8000/v1 --output pairs.jsonl

  bfpo-bench train --recipe zephyr-redteam/bfpo --model ./my-model --set data.0.files=[pairs.jsonl]

Responses, verdicts and rankings are stored as they come. Stop it any time; the same command goes
on. See docs/redteam.md.
"""


app = command_app()


@app.command(epilog=EXAMPLE)
@takes(RedteamOptions, first=("model", "prompts", "judge", "ranker", "output"))
def redteam(options: RedteamOptions) -> None:
    """Turn a model's own harmful responses into preference pairs to train on (Section 4.3 of the
    paper).
    """
    from bfpo_bench.cli.terminal import set_log_level
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.redteam import redteam as run_redteam

    set_log_level("warning")
    summary = run_redteam(options, Progress())
    _show(summary, options.output, options.summary_path)


def _show(summary: Summary, output: Path, path: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    from bfpo_bench.cli.terminal import screen

    console = screen()
    judge = summary.made_of["judge"]["judge"]
    table = Table(title=Text(f"{summary.made_of['model']['name']} · harmful by {judge}"))
    table.add_column("Category" if summary.categories else "")
    for title in ("Prompts", "Responses", "% harmful", "Unknown", "Pairs"):
        table.add_column(title, justify="right")
    rows = {name or "(none)": counts for name, counts in summary.categories.items()}
    for name, counts in {**rows, "all": summary.total}.items():
        if counts is summary.total and rows:
            table.add_section()
        known = counts.unknown < counts.responses
        share = f"{counts.share:.1f} ± {counts.stderr:.1f}" if known else "–"
        table.add_row(
            Text(name),
            *(str(counts.prompts), str(counts.responses), share),
            *(str(counts.unknown), str(counts.pairs)),
        )
    console.print(table)
    fates = {kind: n for kind, n in {**summary.pairs, **summary.dropped}.items() if n}
    width = max(map(len, map(str, fates.values())), default=0)
    kept = ", ".join(f"{n} {kind}" for kind, n in summary.pairs.items() if n)
    line = f"Kept    {summary.total.pairs:>{width}}" + (f": {kept}" if kept else "")
    console.print(line, soft_wrap=True, markup=False)
    for reason, n in summary.dropped.items():
        if n:
            console.print(f"Dropped {n:>{width}}: {reason}", markup=False)
    for note in summary.notes:
        console.print(Text(f"• {note}", style="yellow"))
    console.print(f"Pairs: {output}   Summary: {path}", soft_wrap=True, markup=False)
