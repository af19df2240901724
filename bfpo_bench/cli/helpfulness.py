"""``bfpo-bench helpfulness``: AlpacaEval's files, metrics and comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bfpo_bench.cli.command import takes
from bfpo_bench.engines.options import Loading

if TYPE_CHECKING:
    from rich.console import Console

    from bfpo_bench.helpfulness.metrics import MeanMetric
    from bfpo_bench.helpfulness.upstream import Upstream
    from bfpo_bench.run.results import HelpfulnessResult

app = typer.Typer(
    help="AlpacaEval's outputs and annotations: import, export, compare; reward models.",
    short_help="Import, export and compare AlpacaEval's files",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_IMPORT_EXAMPLE = """
Examples:

  bfpo-bench helpfulness import runs/my-model --annotations annotations.json

  bfpo-bench helpfulness import runs/my-model --annotations annotations.json \
--outputs model_outputs.json --data-dir DIR

Makes the run directory if it is not there. docs/helpfulness.md describes the numbers.
"""
_EXPORT_EXAMPLE = "Example: bfpo-bench helpfulness export runs/my-model --output results/my-model"
_COMPARE_EXAMPLE = "Example: bfpo-bench helpfulness compare runs/zephyr runs/zephyr-bfpo"
_REWARD_EXAMPLE = """
Examples:

  bfpo-bench helpfulness reward runs/my-model --reward-model RLHFlow/ArmoRM-Llama3-8B-v0.1 \
--objective helpsteer-helpfulness

  bfpo-bench helpfulness reward runs/my-model --reward-model ./my-reward-model
"""
_CONSTRAINTS_EXAMPLE = "Example: bfpo-bench helpfulness constraints runs/my-model-mini"

NOT_OF_REWARDS = (
    *("backend", "batch_size", "tensor_parallel_size", "gpu_memory_utilization"),
    *("trust_remote_code", "date"),
)
"""Options of engines that rewards do not depend on, or that are fixed for them."""

Run = Annotated[Path, typer.Argument(help="Run directory.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder with alpacaeval/ (instructions, length-control files). "
        "[default: BFPO_DATA_DIR, then the hub]"
    ),
]


@app.command("import", epilog=_IMPORT_EXAMPLE)
def import_(
    run: Annotated[Path, typer.Argument(help="Run directory; made if it is not there.")],
    annotations: Annotated[Path, typer.Option(help="AlpacaEval's annotations.json.")],
    outputs: Annotated[
        Path | None,
        typer.Option(help="model_outputs.json, to be checked against the annotations."),
    ] = None,
    data_dir: DataDir = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="AlpacaEval's published length-control weights, which must be of these "
            "annotations. [default: those in the data folder, where they are]"
        ),
    ] = None,
) -> None:
    """Fill the Alpaca column from annotations made elsewhere, and print the metrics."""
    from bfpo_bench.cli.terminal import screen
    from bfpo_bench.helpfulness.from_files import import_annotations

    verb = "Added to" if (run / "run.json").exists() else "Made"
    results = import_annotations(run, annotations, outputs, data_dir, weights)
    assert results.helpfulness is not None
    console = screen()
    _show(console, results.model["name"], results.helpfulness)
    console.print(f"{verb} the run {run}", soft_wrap=True, markup=False)


@app.command("export", epilog=_EXPORT_EXAMPLE)
def export(
    run: Run,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write to. [default: named after the run, here]")
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(help="Whose annotations. [default: those of the Alpaca column]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write model_outputs.json and annotations.json as alpaca_eval reads them."""
    from bfpo_bench.cli.terminal import say
    from bfpo_bench.helpfulness.of_run import export_helpfulness

    folder = output if output is not None else Path(f"{run.resolve().name}-alpacaeval")
    for path in export_helpfulness(run, folder, annotator, force):
        say(str(path))


@app.command("compare", epilog=_COMPARE_EXAMPLE)
def compare(
    first: Annotated[Path, typer.Argument(help="Run directory.")],
    second: Annotated[Path, typer.Argument(help="Run directory, compared with the first.")],
    annotator: Annotated[
        str | None, typer.Option(help="Whose annotations. [default: those of the Alpaca column]")
    ] = None,
    data_dir: DataDir = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
) -> None:
    """Is one model more helpful than another? A paired comparison on the same instructions."""
    import shutil
    from dataclasses import replace

    from bfpo_bench.common.text import visible
    from bfpo_bench.helpfulness.inputs import inputs_of_both
    from bfpo_bench.helpfulness.of_run import read_annotated
    from bfpo_bench.leaderboard.render.comparison import render
    from bfpo_bench.leaderboard.runs import told_apart
    from bfpo_bench.leaderboard.win_rates import compare_annotations

    one, two = read_annotated(first, annotator), read_annotated(second, annotator)
    upstream = inputs_of_both((first, second), (one, two), lambda: _upstream(data_dir))
    found = compare_annotations(one, two, upstream, seed=seed)
    names = told_apart([of[0].generator_2 for of in (one, two)], (first, second))
    found = replace(found, pairs=(replace(found.pairs[0], first=names[0], other=names[1]),))
    width = shutil.get_terminal_size((100, 24)).columns
    typer.echo(visible(render(found, width=width)), nl=False)


@app.command("reward", epilog=_REWARD_EXAMPLE)
@takes(Loading, first=("run", "reward_model", "objective"), without=NOT_OF_REWARDS)
def reward(
    loading: Loading,
    run: Run,
    reward_model: Annotated[
        str, typer.Option(help="Sequence classifier, as a folder or a hub id.")
    ],
    objective: Annotated[
        str | None, typer.Option(help="Which of its outputs, by name or number, if it has several.")
    ] = None,
) -> None:
    """Mean reward of the same responses: another look, without an annotator."""
    from bfpo_bench.cli.terminal import screen
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.helpfulness.rewards import mean_reward

    _show_look(screen(), mean_reward(run, reward_model, objective, None, loading, Progress()))


@app.command("constraints", epilog=_CONSTRAINTS_EXAMPLE)
def constraints(run: Run) -> None:
    """Share of the mini suite's instructions whose checkable constraint is met."""
    from bfpo_bench.cli.terminal import screen
    from bfpo_bench.helpfulness.rewards import constraints_met

    _show_look(screen(), constraints_met(run))


def _upstream(data_dir: Path | None) -> Upstream:
    from bfpo_bench.data.hub import HubUnavailable
    from bfpo_bench.data.load import find_data_dir
    from bfpo_bench.helpfulness.annotation import load_instructions
    from bfpo_bench.helpfulness.upstream import Upstream, read_upstream

    try:
        _, instructions = load_instructions(data_dir)
    except HubUnavailable:
        # The comparison goes without, and says so; that of the mini suite always does.
        return Upstream()
    return read_upstream(find_data_dir(data_dir), [one.instruction for one in instructions])


def _show(console: Console, model: str, found: HelpfulnessResult) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{model} against {found.reference}, by {found.annotator}"))
    table.add_column("")
    table.add_column("Value", justify="right")
    table.add_column("95 % interval", justify="right")
    rows = (
        ("Length-controlled win rate (%)", found.lc_win_rate, found.lc_low, found.lc_high),
        ("  by the published weights (%)", found.lc_published, None, None),
        ("Win rate (%)", found.win_rate, found.win_low, found.win_high),
        ("  standard error", found.standard_error, None, None),
        ("Discrete win rate (%)", found.discrete_win_rate, None, None),
        ("Mean length (characters)", found.mean_length, None, None),
    )
    for name, value, low, high in rows:
        interval = f"{low:.2f} to {high:.2f}" if low is not None and high is not None else ""
        table.add_row(name, "–" if value is None else f"{value:.2f}", interval)
    table.add_row("Annotations", str(found.n), "")
    table.add_row("  without a usable answer", str(found.failed), "")
    console.print(table)
    _notes(console, found.notes)


def _show_look(console: Console, found: MeanMetric) -> None:
    console.print(
        f"{found.metric}: {found.mean:.4f}, 95 % interval {found.low:.4f} to {found.high:.4f}, "
        f"{found.n} responses",
        soft_wrap=True,
        markup=False,
    )


def _notes(console: Console, notes: list[str]) -> None:
    from rich.text import Text

    for note in notes:
        console.print(Text(f"• {note}", style="yellow"))
