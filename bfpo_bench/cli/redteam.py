"""``bfpo-bench redteam``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bfpo_bench.cli.command import (
    AdapterFolder,
    ApiKeyEnv,
    Backend,
    BaseUrl,
    BatchSize,
    ChatTemplate,
    DataParallelSize,
    Date,
    Device,
    Dtype,
    GpuMemoryUtilization,
    JudgeModel,
    JudgeUrl,
    MaxLength,
    Model,
    Revision,
    TensorParallelSize,
    Thinking,
    Tokenizer,
    TrustRemoteCode,
    parse_batch_size,
    parse_variants,
)
from bfpo_bench.models.chat import DATE

if TYPE_CHECKING:
    from bfpo_bench.redteam import Summary

EXAMPLE = """
Examples:

  bfpo-bench redteam --model ./my-model --prompts prompts.csv --judge harmbench-llama2-13b \
--ranker pairrm --output pairs.jsonl

  bfpo-bench redteam --model ./my-model --prompts advbench --data-dir ./data --judge keyword \
--ranker reward:./my-reward-model --output pairs.jsonl

  bfpo-bench redteam --model ./my-model --prompts behaviors.csv --category-column \
SemanticCategory --max-per-category 200 --judge llama-guard-3-8b --ranker openai:my-chat-model \
--ranker-url http://localhost:8000/v1 --output pairs.jsonl

  bfpo-bench train --recipe zephyr-redteam/bfpo --model ./my-model --set data.0.files=[pairs.jsonl]

Responses, verdicts and rankings are stored as they come. Stop it any time; the same command goes
on. See docs/redteam.md.
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    app.command(
        "redteam",
        help="Turn a model's own harmful responses into preference pairs to train on (Section 4.3 "
        "of the paper).",
        short_help="Make training pairs of a model's own harmful responses",
        epilog=EXAMPLE,
    )(redteam)


def redteam(
    model: Model,
    prompts: Annotated[
        str,
        typer.Option(
            help="File (.txt: one prompt a line; CSV, JSON, JSON lines), or a source: advbench, "
            "alert, alert_adversarial, realtoxicityprompts, alpaca_eval."
        ),
    ],
    judge: Annotated[str, typer.Option(help="Judge card, by name or path, or judgezoo:NAME.")],
    ranker: Annotated[
        str,
        typer.Option(
            help="Which response is more helpful: pairrm, pairrm:PATH, reward:PATH, openai:MODEL "
            "or package.module:function."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Preference file to write (JSON lines).")],
    run: Annotated[
        Path | None, typer.Option(help="Run directory. [default: <output>.run beside it]")
    ] = None,
    responses: Annotated[int, typer.Option(help="Responses to each prompt.")] = 2,
    temperature: Annotated[float, typer.Option(help="Of sampling; above 0.")] = 0.7,
    top_p: Annotated[float, typer.Option(help="Nucleus of sampling.")] = 0.95,
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens of a response.")] = 512,
    prompt_column: Annotated[
        str | None,
        typer.Option(help="Column of the prompts. [default: prompt, goal, behavior … if there]"),
    ] = None,
    category_column: Annotated[
        str | None,
        typer.Option(help="Column of the categories. [default: category, SemanticCategory …]"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most so many prompts, drawn by the seed.")
    ] = None,
    max_per_category: Annotated[
        int | None, typer.Option(help="At most so many prompts of a category, drawn by the seed.")
    ] = None,
    judge_model: JudgeModel = None,
    judge_url: JudgeUrl = None,
    ranker_url: Annotated[
        str | None, typer.Option(help="Server of an openai: ranker, up to /v1. [default: OpenAI's]")
    ] = None,
    ranker_key_env: Annotated[
        str, typer.Option(help="Environment variable with the key of the ranker's server.")
    ] = "OPENAI_API_KEY",
    backend: Backend = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = "OPENAI_API_KEY",
    concurrency: Annotated[
        int, typer.Option(help="Requests to the server at a time (openai).")
    ] = 16,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of upstream files, for a source. [default: BFPO_DATA_DIR]"),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="source=variant, for a source that comes in several."),
    ] = None,
    allow_unpinned: Annotated[
        bool, typer.Option(help="Take a source's data although it is not the pinned copy.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of sampling, and of what the limits draw.")] = 0,
    dtype: Dtype = "auto",
    device: Device = "auto",
    batch_size: BatchSize = "auto",
    max_length: MaxLength = None,
    tensor_parallel_size: TensorParallelSize = 1,
    data_parallel_size: DataParallelSize = 1,
    gpu_memory_utilization: GpuMemoryUtilization = 0.9,
    revision: Revision = None,
    adapter: AdapterFolder = None,
    tokenizer: Tokenizer = None,
    chat_template: ChatTemplate = "auto",
    thinking: Thinking = "auto",
    system_prompt: Annotated[
        str | None, typer.Option(help="Before the user's turn; goes into the pairs as well.")
    ] = None,
    date: Date = DATE,
    trust_remote_code: TrustRemoteCode = False,
    fresh: Annotated[
        bool, typer.Option(help="Forget an earlier run in the run directory.")
    ] = False,
) -> None:
    """Turn a model's own harmful responses into preference pairs."""
    from bfpo_bench.cli.show import set_log_level
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.redteam import RedteamOptions
    from bfpo_bench.redteam import redteam as run_redteam

    set_log_level("warning")
    options = RedteamOptions(
        model=model,
        prompts=prompts,
        judge=judge,
        ranker=ranker,
        output=output,
        run=run,
        responses=responses,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        prompt_column=prompt_column,
        category_column=category_column,
        limit=limit,
        max_per_category=max_per_category,
        judge_model=judge_model,
        judge_url=judge_url,
        ranker_url=ranker_url,
        ranker_key_env=ranker_key_env,
        backend=backend,
        base_url=base_url,
        api_key_env=api_key_env,
        concurrency=concurrency,
        data_dir=data_dir,
        variants=parse_variants(variant or []),
        allow_unpinned=allow_unpinned,
        seed=seed,
        dtype=dtype,
        device=device,
        batch_size=parse_batch_size(batch_size),
        max_length=max_length,
        tensor_parallel_size=tensor_parallel_size,
        data_parallel_size=data_parallel_size,
        gpu_memory_utilization=gpu_memory_utilization,
        revision=revision,
        adapter=adapter,
        tokenizer=tokenizer,
        chat_template=chat_template,
        thinking=thinking,
        system_prompt=system_prompt,
        date=date,
        trust_remote_code=trust_remote_code,
        fresh=fresh,
    )
    summary = run_redteam(options, Progress())
    _show(summary, options.output, options.summary_path)


def _show(summary: Summary, output: Path, path: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
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
