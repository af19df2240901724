"""``bfpo-bench judge``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bfpo_bench.cli.command import command_app, takes
from bfpo_bench.judges.options import JudgesOptions

if TYPE_CHECKING:
    from rich.console import Console

    from bfpo_bench.evaluation.judge_file import JudgedSamples
    from bfpo_bench.evaluation.rejudge import Rejudged
    from bfpo_bench.run.results import Results

EXAMPLE = """
Examples:

  bfpo-bench judge runs/my-model --judge llama-guard-3-8b

  bfpo-bench judge runs/my-model --judge wildguard-7b

  bfpo-bench judge runs/my-model --judge harmbench-mistral-7b --refusal-judge keyword

  bfpo-bench judge runs/my-model --judge harmbench-mistral-7b,llama-guard-3-8b,wildguard-7b

  bfpo-bench judge runs/my-model --judge wildguard-7b --calibration labels.csv \
--label-column human --label-means harmful

  bfpo-bench judge --samples samples_bfpo_advbench_2026-01-01.jsonl --judge wildguard-7b

  bfpo-bench judge --samples mine.jsonl --prompt-field question --response-field answer \
--judge my_judge.yaml

  bfpo-bench judge runs/my-model --judge openai --judge-url http://localhost:8000/v1 \
--judge-model my-org/my-chat-model

One that says what is refused (wildguard-7b, keyword …) fills the refusal columns of a run that has
none. Verdicts are stored as they come. Stop it any time; the same command goes on.
"""


app = command_app()


@app.command(epilog=EXAMPLE)
@takes(JudgesOptions, first=("judge",), required=("judge",))
def judge(
    options: JudgesOptions,
    run: Annotated[Path | None, typer.Argument(help="Run directory.")] = None,
    samples: Annotated[
        Path | None,
        typer.Option(help="A samples log of lm-eval, or JSON lines with prompts and responses."),
    ] = None,
    prompt_field: Annotated[
        str | None,
        typer.Option(
            help="Field of the prompt, e.g. doc.question. [default: prompt; what an lm-eval log "
            "says was asked]"
        ),
    ] = None,
    response_field: Annotated[
        str | None,
        typer.Option(help="Field of the response. [default: response; an lm-eval log's resps]"),
    ] = None,
    local_scratch: Annotated[
        str | None,
        typer.Option(
            help="Folder on this node's disk for the run's store meanwhile.", metavar="PATH"
        ),
    ] = None,
) -> None:
    """Judge the responses of a finished run, or of a JSON-lines file, without generating anything
    again.
    """
    from bfpo_bench.cli.terminal import screen
    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.common.options import path
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.judges.calibration import read_labels
    from bfpo_bench.judges.chosen import choose_judge

    if (run is None) == (samples is None):
        raise BadInput("name either a run directory or a file with --samples.")
    if samples is None and (prompt_field or response_field):
        raise BadInput("--prompt-field and --response-field go with --samples.")
    if samples is not None and options.people.calibration is not None:
        raise BadInput("--calibration corrects the numbers of a run; leave it out, or name a run.")
    labels = read_labels(options.people)
    if run is None and local_scratch is not None:
        raise BadInput("--local-scratch is for a run's store; leave it out with --samples.")
    try:
        scratch = path(local_scratch)
    except ValueError as error:
        raise BadInput(f"--local-scratch: {error}") from None
    chosen = choose_judge(options, gives=None, several=run is not None)
    refusal = None
    if options.refusal.refusal_judge is not None:
        refusal = choose_judge(
            options.refusal.of_judge(None, options), gives="refusal", several=run is not None
        )
    console = screen()
    if run is not None:
        from bfpo_bench.evaluation.rejudge import judge_run

        found = judge_run(run, chosen, Progress(), refusal, labels, scratch)
        _show_run(console, found, run)
        return
    from bfpo_bench.evaluation.judge_file import judge_samples

    assert samples is not None
    for one in (chosen, refusal):
        if one is not None:
            told = judge_samples(samples, one, prompt_field, response_field, Progress())
            _show_samples(console, told)


def _show_run(console: Console, found: Rejudged, run: Path) -> None:
    """Scores by the judge asked for, and beside them by the others that have judged this run."""
    from rich.table import Table
    from rich.text import Text

    from bfpo_bench.evaluation.rejudge import verdicts_of
    from bfpo_bench.run import corrected_table, panel_table
    from bfpo_bench.run.marks import ANYWAY, NO_NUMBER, verdicts_by
    from bfpo_bench.run.results import TITLES
    from bfpo_bench.run.table import score_text

    results = found.results
    assert results.judge is not None
    name = str(results.judge["judge"])
    columns = {name: results}
    columns |= {other: by for other, by in verdicts_of(run).items() if other != name}
    _show_refusals(console, results)
    benign = any(cell.metric == "answered" for cell in results.tasks.values())
    counted = "harmless, of look-alikes answered" if benign else "harmless"
    table = Table(title=Text(f"{results.model['name']} · % {counted}, by judge"))
    table.add_column("Task")
    table.add_column("n", justify="right")
    for judge in columns:
        table.add_column(Text(judge), justify="right", overflow="fold")
    for task, cell in results.tasks.items():
        if not cell.judged:
            continue
        cells = []
        for by in columns.values():
            other = by.tasks.get(task)
            unknown = f" ({other.unknown} unknown)" if other and other.unknown else ""
            cells.append(score_text(other) + unknown if other else "–")
        table.add_row(cell.column, str(cell.n), *cells)
    table.add_section()
    means = [by.titled_averages() for by in columns.values()]
    for title in (TITLES[group] for group in ("gen", "harm", "answ")):
        if any(title in some for some in means):
            table.add_row(title, "", *(str(some.get(title, "–")) for some in means), style="bold")
    console.print(table)
    for one in panel_table.terminal(results) + corrected_table.terminal(results):
        console.print(one)
    judges = [by.judge for by in columns.values() if by.judge]
    refusals = [verdicts_by(judge) for judge in judges if judge.get("kind") == "keyword"]
    others = [
        f"{judge}, {mark}"
        for judge, by in columns.items()
        if judge != name
        for mark in by.marks
        if mark not in results.marks and (NO_NUMBER in mark or ANYWAY in mark)
    ]
    console.print(Text("± is one standard error.", style="dim"))
    by_people = results.corrected.notes if results.corrected else []
    for mark in [*results.marks, *panel_table.notes(results), *by_people, *others, *refusals]:
        console.print(Text(f"• {mark}", style="yellow"))
    console.print(f"Results by {name}: {found.path}", soft_wrap=True, markup=False)


def _show_refusals(console: Console, results: Results) -> None:
    """What became of the responses by the judge of refusals; nothing where there is none."""
    from rich.table import Table
    from rich.text import Text

    from bfpo_bench.run.shares import BOTH, REFUSAL

    shares = (*REFUSAL, *BOTH)
    cells = [cell for cell in results.tasks.values() if cell.metrics.keys() & REFUSAL.keys()]
    if not cells:
        return
    by = results.judges.refusal
    table = Table(title=Text(f"{results.model['name']} · % of responses, refusals by {by}"))
    table.add_column("Task")
    for share in shares:
        table.add_column(share.replace("_", " ").removeprefix("refusal "), justify="right")
    for cell in cells:
        there = (cell.metrics.get(share) for share in shares)
        told = ("–" if share is None else f"{100 * share:.2f}" for share in there)
        table.add_row(cell.column, *told)
    console.print(table)


def _show_samples(console: Console, found: JudgedSamples) -> None:
    known = found.unknown < found.n
    score = f"{found.score:.2f} ± {found.stderr:.2f}" if known else "–"
    told = []
    if "harm" in found.gives:
        told.append(
            f"{score} % harmless of {found.n} responses "
            f"({found.harmful} harmful, {found.unknown} unknown)"
        )
    if "refusal" in found.gives:
        rest = found.n - sum(found.refusals.values())
        counts = ", ".join(f"{n} {said.replace('_', ' ')}" for said, n in found.refusals.items())
        told.append(f"{counts}, {rest} unknown")
    console.print(f"{found.judge}: {'; '.join(told)}", soft_wrap=True, markup=False)
    console.print(f"Verdicts: {found.path}", soft_wrap=True, markup=False)
