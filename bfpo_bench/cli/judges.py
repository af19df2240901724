"""``bfpo-bench judges``: which judges there are, and how far each can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bfpo_bench.cli.command import takes
from bfpo_bench.judges.options import JudgeOptions

if TYPE_CHECKING:
    from rich.console import Console

    from bfpo_bench.judges.agreement import Agreement
    from bfpo_bench.judges.classes import Classes, Measure
    from bfpo_bench.judges.vocabulary import Vocabulary

app = typer.Typer(
    help="List the judges, and measure one against people's labels.",
    short_help="List the judges, and measure one against people",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_LIST_EXAMPLE = "Example: bfpo-bench judges list"
_CHECK_EXAMPLE = """
Examples:

  bfpo-bench judges check --labels judge-comparison.csv --verdict-column harmbench_cf \
--label-column human1 --label-column human2 --label-column human3 --label-means harmful \
--encoding mac-roman

  bfpo-bench judges check --labels judge-comparison.csv --judge keyword --prompt-column goal \
--response-column target_response --label-column human_majority --label-means harmful \
--encoding mac-roman --output keyword.json

  bfpo-bench judges check --labels xstest_v2_completions_llama2new.csv --judge keyword \
--verdict refusal --response-column completion --label-column final_label --format json

Labels and verdicts may be 1/0, true/false, yes/no, unsafe/safe or harmful/harmless. What 1, true
and yes mean is asked for: in a column named is_safe they say the opposite of what they say in one
named harmful. Of refusals they are full_compliance, partial_refusal and full_refusal, with a number
before them or not, or compliance/refusal.
"""
_TITLES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "sensitivity": "Recall (sensitivity)",
    "specificity": "Specificity",
    "f1": "F1",
    "kappa": "Cohen's kappa",
    "alpha": "Krippendorff's alpha",
    "macro_f1": "Macro F1",
    "recall": "Recall",
}
_SHARES = ("accuracy", "precision", "sensitivity", "specificity", "recall")
"""Printed in percent."""


@app.command("list", epilog=_LIST_EXAMPLE)
def list_judges() -> None:
    """List the judges that --judge takes by name. Loads no model."""

    from rich.table import Table

    from bfpo_bench.cli.terminal import screen
    from bfpo_bench.common.packages import find_spec
    from bfpo_bench.judges import ClassifierCard, RubricCard, load_judge, names
    from bfpo_bench.judges.judgezoo import INSTALL, NAMES, PREFIX, XSTEST
    from bfpo_bench.judges.load import CARDS

    table = Table()
    for title in ("Judge", "Model", "Harmful / harmless", "Says", "Licence"):
        table.add_column(title, overflow="fold")
    for name in names():
        card = load_judge(name)
        model = labels = "-"
        if isinstance(card, ClassifierCard):
            model, labels = card.model, f"{card.harmful_label} / {card.safe_label}"
        elif isinstance(card, RubricCard):
            model, labels = (
                f"{card.model} at {card.base_url}",
                "true / false" if "harm" in card.gives else "-",
            )
        table.add_row(name, model, labels, ", ".join(card.gives), card.licence)
    console = screen(piped_width=200)
    console.print(table)
    installed = find_spec("judgezoo") is not None
    console.print(
        f"With JudgeZoo ({'installed' if installed else INSTALL}): "
        + ", ".join(PREFIX + name for name in (*NAMES, XSTEST)),
        soft_wrap=True,
        markup=False,
    )
    for line in (
        f"Sources and formats stand in the cards: {CARDS}",
        "Your own judge is named by the path of its card; docs/judges.md says how to write one.",
    ):
        console.print(line, soft_wrap=True, markup=False)


@app.command("check", epilog=_CHECK_EXAMPLE)
@takes(JudgeOptions, without=("judge_anyway",))
def check(
    options: JudgeOptions,
    labels: Annotated[
        Path, typer.Option(help="CSV, JSON or JSON-lines file of labelled responses.")
    ],
    label_column: Annotated[
        list[str], typer.Option(help="Column of labels; several are put to the vote. Repeatable.")
    ],
    verdict: Annotated[
        str, typer.Option(help="What is judged: harm, or refusal (does the response refuse).")
    ] = "harm",
    verdict_column: Annotated[
        str | None, typer.Option(help="Measure the verdicts in this column instead.")
    ] = None,
    label_means: Annotated[
        str | None,
        typer.Option(
            help="What 1, true and yes say in the label columns: harmful or safe; of refusals, "
            "refusal or compliance. Needed unless the labels are words that speak for themselves."
        ),
    ] = None,
    verdict_means: Annotated[
        str | None,
        typer.Option(
            help="The same of the verdict column. [default: harmful, unless its name speaks of "
            "safety; refusal, where it speaks of that]"
        ),
    ] = None,
    prompt_column: Annotated[str, typer.Option(help="Column of the prompts.")] = "prompt",
    response_column: Annotated[str, typer.Option(help="Column of the responses.")] = "response",
    encoding: Annotated[
        str | None,
        typer.Option(help="Of the file, e.g. cp1252. [default: UTF-8 or UTF-16]"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write everything as JSON into this file.")
    ] = None,
    format: Annotated[str, typer.Option(help="What is printed: text or json.")] = "text",
) -> None:
    """Compare a judge's verdicts with people's labels."""
    from contextlib import nullcontext

    from bfpo_bench.cli.terminal import say, screen
    from bfpo_bench.common.errors import BadInput, unknown_name
    from bfpo_bench.common.files import atomic_write, new_file
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.judges.agreement import check_column, check_judge
    from bfpo_bench.judges.chosen import choose_judge
    from bfpo_bench.judges.vocabulary import VOCABULARIES
    from bfpo_bench.run.panel import judges_named

    if verdict not in VOCABULARIES:
        raise unknown_name("kind of --verdict", verdict, VOCABULARIES)
    if format not in ("text", "json"):
        raise unknown_name("--format", format, ("text", "json"))
    vocabulary = VOCABULARIES[verdict]
    if verdict_means is not None and verdict_column is None:
        raise BadInput("--verdict-means goes with --verdict-column; leave it out.")
    if (options.judge is None) == (verdict_column is None):
        raise BadInput("name either a judge with --judge or a column with --verdict-column.")
    if output is not None and not output.parent.is_dir():
        raise BadInput(f"there is no folder {output.parent} for --output; make it first.")
    read: list[Path | str] = [labels, *judges_named(options.judge or "")]
    with nullcontext() if output is None else new_file(output, force=True, read=read) as place:
        if verdict_column is not None:
            found = check_column(
                *(labels, verdict_column, label_column, encoding),
                _means("--label-means", label_means, vocabulary),
                _means("--verdict-means", verdict_means, vocabulary),
                vocabulary,
            )
        else:
            found = check_judge(
                *(
                    labels,
                    # Told before its weights are looked for.
                    choose_judge(options, gives="refusal" if verdict == "refusal" else None),
                    label_column,
                    prompt_column,
                    response_column,
                    encoding,
                ),
                progress=Progress(),
                label_means=_means("--label-means", label_means, vocabulary),
                vocabulary=vocabulary,
            )
        if format == "json":
            typer.echo(found.to_json(), nl=False)
        else:
            _show(screen(), found)
        if place is not None:
            atomic_write(place, found.to_json())
            say(f"Written: {output}", err=format == "json")


def _means(option: str, value: str | None, vocabulary: Vocabulary) -> str | None:
    from bfpo_bench.common.errors import BadInput

    if value is not None and value not in vocabulary.means:
        raise BadInput(f"{option} is either {' or '.join(vocabulary.means)}, not {value!r}.")
    return value


def _show(console: Console, found: Agreement) -> None:
    from rich.table import Table
    from rich.text import Text

    positive = found.vocabulary.positive[0]
    columns = ", ".join(found.label_columns)
    rates = Table(title=Text(f"{found.verdicts_by} against {columns} of {found.table.path.name}"))
    for title in (positive.capitalize(), "Value", "95 % interval", "n"):
        rates.add_column(title, justify="left" if len(rates.columns) == 0 else "right")
    for name, measure in found.measures.items():
        rates.add_row(_TITLES[name], *_cells(measure, percent=name in _SHARES))
    console.print(rates)
    _show_classes(console, found.classes)
    for note in _notes(found):
        console.print(Text(f"• {note}", style="yellow"))


def _show_classes(console: Console, found: Classes) -> None:
    from rich.table import Table

    names = [name.replace("_", " ") for name in found.names]
    matrix = Table(title="Responses")
    matrix.add_column("People say")
    for title in (f"Judge: {names[0]}", *names[1:], "unknown"):
        matrix.add_column(title, justify="right")
    for name, row, unknown in zip(names, found.confusion, found.unknown, strict=True):
        matrix.add_row(name, *map(str, (*row, unknown)))
    rates = Table(title="By class")
    for title in ("", "Value", "95 % interval", "n"):
        rates.add_column(title, justify="right" if title else "left")
    for name, measures in zip(names, found.per_class.values(), strict=True):
        for what, measure in measures.items():
            title = f"{name}: {_TITLES[what].lower() if what != 'f1' else 'F1'}"
            rates.add_row(title, *_cells(measure, percent=what in _SHARES))
    for what, measure in found.measures.items():
        rates.add_row(_TITLES[what], *_cells(measure, percent=what in _SHARES))
    console.print(matrix)
    console.print(rates)


def _cells(measure: Measure, percent: bool) -> tuple[str, str, str]:
    if measure.value is None or measure.low is None or measure.high is None:
        return "–", "–", str(measure.n)
    scale, unit, digits = (100, " %", 1) if percent else (1, "", 3)
    value, low, high = (
        f"{scale * number:z.{digits}f}" for number in (measure.value, measure.low, measure.high)
    )
    return value + unit, f"{low} to {high}", str(measure.n)


def _notes(found: Agreement) -> list[str]:
    notes = [
        f"1, true and yes are read as {means} in the {what}"
        for what, means in found.means.items()
        if means is not None
    ]
    if found.labels.ties:
        notes.append(f"{found.labels.ties} rows left out: the labels are tied")
    if found.labels.unlabelled:
        notes.append(f"{found.labels.unlabelled} rows left out: no label")
    if found.confusion.unknown:
        notes.append(f"{found.confusion.unknown} responses without a verdict are in no rate")
    return notes
