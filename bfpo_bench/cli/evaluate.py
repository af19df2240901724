"""``bfpo-bench evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bfpo_bench.cli.command import (
    AdapterFolder,
    Annotator,
    AnnotatorConfig,
    AnnotatorKeyEnv,
    AnnotatorModel,
    AnnotatorUrl,
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
    JudgeAnyway,
    JudgeModel,
    JudgeUrl,
    MaxCost,
    MaxLength,
    Model,
    PriceIn,
    PriceOut,
    Revision,
    TensorParallelSize,
    Thinking,
    Tokenizer,
    TrustRemoteCode,
    parse_batch_size,
    parse_variants,
)
from bfpo_bench.models.chat import DATE

EXAMPLE = """
Examples:

  bfpo-bench evaluate --model mistralai/Mistral-7B-Instruct-v0.2

  bfpo-bench evaluate --model ./my-model --suite mini --judge keyword

  bfpo-bench evaluate --model ./my-model --tasks alpaca --annotator openai:gpt-4.1

  bfpo-bench evaluate --model ./my-model --dry-run --measure

  bfpo-bench evaluate --model ./my-model --tasks disc,advbench --limit 200 --data-dir ./data

Answers are stored in the run directory as they come. Stop it any time; the same command goes on.
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    app.command(
        "evaluate",
        help="Evaluate a model and print its Disc. / Gen. / Savg. row.",
        short_help="Evaluate a model and print its row",
        epilog=EXAMPLE,
    )(evaluate)


def evaluate(
    model: Model,
    suite: Annotated[
        str, typer.Option(help="paper, mini (bundled items, a demonstration) or a YAML file.")
    ] = "paper",
    output: Annotated[
        Path | None, typer.Option(help="Run directory. [default: runs/<model>]")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Only these tasks, by comma; disc, gen and alpaca stand for the groups."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most so many items per task, drawn by the seed.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="Judge card, by name or path. [default: the suite's]")
    ] = None,
    judge_model: JudgeModel = None,
    judge_url: JudgeUrl = None,
    judge_anyway: JudgeAnyway = False,
    annotator: Annotator = None,
    annotator_config: AnnotatorConfig = None,
    annotator_model: AnnotatorModel = None,
    annotator_url: AnnotatorUrl = None,
    annotator_key_env: AnnotatorKeyEnv = "OPENAI_API_KEY",
    max_cost: MaxCost = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    backend: Backend = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = "OPENAI_API_KEY",
    concurrency: Annotated[
        int, typer.Option(help="Requests to a server at a time (openai, annotator).")
    ] = 16,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of upstream data files. [default: BFPO_DATA_DIR, else the hub]"),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="source=variant, for data that comes in several. Repeatable."),
    ] = None,
    allow_unpinned: Annotated[
        bool, typer.Option(help="Take data that differs from the pinned copy; marks the results.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of sampling, and of what --limit draws.")] = 0,
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
        str | None, typer.Option(help="Before the user's turn in chat tasks.")
    ] = None,
    date: Date = DATE,
    trust_remote_code: TrustRemoteCode = False,
    fresh: Annotated[
        bool, typer.Option(help="Forget an earlier run in the output folder.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show prompts, tokens, memory and time needed; load no weights."
        ),
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
    from bfpo_bench.cli.show import set_log_level
    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.engines.options import EvaluateOptions

    if measure and not dry_run:
        raise BadInput(
            "--measure goes with --dry-run: together they time a short sample and store nothing; "
            "leave --measure out to evaluate."
        )
    set_log_level(log_level)
    options = EvaluateOptions(
        model=model,
        suite=suite,
        output=output,
        tasks=tuple(name.strip() for name in (tasks or "").split(",") if name.strip()),
        limit=limit,
        judge=judge,
        judge_model=judge_model,
        judge_url=judge_url,
        judge_anyway=judge_anyway,
        annotator=annotator,
        annotator_config=annotator_config,
        annotator_model=annotator_model,
        annotator_url=annotator_url,
        annotator_key_env=annotator_key_env,
        max_cost=max_cost,
        price_in=price_in,
        price_out=price_out,
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
    progress = Progress()
    if dry_run:
        from bfpo_bench.estimate.dry_run import dry_run as look

        typer.echo(look(options, measure, progress))
        return
    from bfpo_bench.cli.show import show_results
    from bfpo_bench.evaluation.resolve import output_folder
    from bfpo_bench.evaluation.run import run_evaluation

    progress.say(f"Evaluating {model} on suite {suite} …")
    results = run_evaluation(options, progress)
    show_results(results, output_folder(options))
