"""One run as a table: for the terminal and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bfpo_bench.common.text import markdown_text, sentence
from bfpo_bench.run import (
    also,
    corrected_table,
    enough_table,
    panel_table,
    share_table,
    small_table,
)
from bfpo_bench.run.marks import refusals_by, verdicts_by
from bfpo_bench.run.results import TITLES, Results, TaskResult

if TYPE_CHECKING:
    from rich.console import RenderableType

GROUPS = {
    "disc": "discriminative",
    "gen": "generative",
    "harm": "harmful prompts",
    "answ": "benign look-alikes",
    "apart": "in no average",
}

_CELLS = "Task", "Group", "Score (%)", "95 % interval", "n", "Unknown", "No answer", "Ended by"
_ALSO = "Also", "Value", "95 % interval", "n"


def markdown(results: Results) -> str:
    """The row, its cells and what must be known of them, as GitHub Markdown."""
    name = str(results.model["name"])
    lines = [f"# {markdown_text(name)}"]
    if results.suite["demonstration"]:
        lines += ["", "**A demonstration on a few bundled items; these numbers measure nothing.**"]
    row = _row(results)
    lines += small_table.markdown(["Model", *row], [[name, *row.values()]])
    cells = [
        [
            *(task.column, GROUPS[task.group], score_text(task)),
            *(interval_text(task.low, task.high), items_text(task), *_counts(task), _ended(task)),
        ]
        for task in results.tasks.values()
    ]
    lines += small_table.markdown(_CELLS, cells, left=(0, 1, 7))
    lines += share_table.markdown(results) + enough_table.markdown(results)
    lines += panel_table.markdown(results) + corrected_table.markdown(results)
    lines += small_table.markdown(_ALSO, also.lines(results.also))
    lines += ["", markdown_text(_legend(results))]
    lines += [f"- {markdown_text(note)}" for note in notes(results)]
    return "\n".join(lines).rstrip() + "\n"


def terminal(results: Results) -> RenderableType:
    """The same for rich."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    name = sentence(str(results.model["name"]))
    cells = Table(title=Text(f"{name} · {results.suite['name']} suite"))
    cells.add_column("Task")
    cells.add_column("Score (%)", justify="right")
    cells.add_column("95 % interval", justify="right")
    cells.add_column("n", justify="right")
    group = None
    for task in results.tasks.values():
        if group not in (None, task.group):
            cells.add_section()
        group = task.group
        interval = interval_text(task.low, task.high)
        cells.add_row(Text(task.column), score_text(task), interval, items_text(task))

    row = Table()
    row.add_column("Model")
    texts = _row(results)
    for title in texts:
        row.add_column(title, justify="right", style="bold")
    row.add_row(Text(name), *texts.values())
    quiet = [_legend(results)]
    remarks = [Text(sentence(f"• {note}"), style="yellow") for note in notes(results)]
    # Not as columns: most tasks have none, and a terminal has 80 columns.
    judged = [task for task in results.tasks.values() if task.judged]
    quiet = [*map(_responses, judged), *quiet]
    became = [*share_table.terminal(results), *enough_table.terminal(results)]
    judges = panel_table.terminal(results) + corrected_table.terminal(results)
    beside = small_table.terminal(_ALSO, also.lines(results.also))
    tables = [cells, *became, row, *judges, *beside]
    return Group(*tables, *(Text(line, style="dim") for line in quiet), *remarks)


def _row(results: Results) -> dict[str, str]:
    """The row's cells by their titles, helpfulness first as in the paper's tables."""
    found = {}
    helpful = results.helpfulness
    if helpful is not None:
        rates = {
            "Alpaca, length-controlled": (helpful.lc_win_rate, helpful.lc_low, helpful.lc_high),
            "Alpaca, win rate": (helpful.win_rate, helpful.win_low, helpful.win_high),
        }
        for title, (rate, low, high) in rates.items():
            if rate is not None:
                between = interval_text(low, high)
                found[title] = f"{rate:.2f}" + (f" ({between})" if between else "")
    return found | {title: str(mean) for title, mean in results.titled_averages().items()}


def _counts(task: TaskResult) -> tuple[str, str]:
    """Unknown verdicts and missing answers of a judged task; empty for a scored one."""
    return (str(task.unknown), str(task.no_answer)) if task.judged else ("", "")


def _responses(task: TaskResult) -> str:
    """What became of a judged task's responses, in one line."""
    unknown, no_answer = _counts(task)
    ended = f"; ended by {_ended(task)}" if task.finishes else ""
    counts = f"{unknown} of {task.n} verdicts unknown, {no_answer} without an answer"
    return f"{task.column}: {counts}{ended}."


def _ended(task: TaskResult) -> str:
    """What ended the responses of a task, e.g. ``stop 500, length 20``."""
    return ", ".join(
        f"{name} {n}" for name, n in sorted(task.finishes.items(), key=lambda e: -e[1])
    )


def notes(results: Results) -> list[str]:
    """What must be known of the numbers: missing tasks, then the marks of the run."""
    missing = [
        f"{title} is missing {', '.join(mean.missing)}"
        for title, mean in results.titled_averages().items()
        if title != TITLES["savg"] and mean.missing
    ]
    by_people = results.corrected.notes if results.corrected else []
    return (
        missing + results.marks + panel_table.notes(results) + by_people + also.notes(results.also)
    )


def score_text(task: TaskResult) -> str:
    """Score and standard error of a cell, e.g. ``59.05 ± 1.20``; a dash where there is none."""
    if task.score is None:
        return "–"
    error = f" ± {task.stderr:.2f}" if task.stderr is not None else ""
    return f"{task.score:.2f}{error}"


def interval_text(low: float | None, high: float | None) -> str:
    """A 95 % interval, e.g. ``56.70 to 61.40``; empty where it is not known."""
    return f"{low:.2f} to {high:.2f}" if low is not None and high is not None else ""


def items_text(task: TaskResult) -> str:
    """Items that a cell is over, e.g. ``100 of 940`` in a limited run."""
    return str(task.n) if task.n == task.items else f"{task.n} of {task.items}"


def _legend(results: Results) -> str:
    judge = f"; {verdicts_by(results.judge)}" if results.judge else ""
    judge += f"; {refusals_by(results.refusal_judge)}" if results.refusal_judge else ""
    return f"± is one standard error{judge}; bfpo-bench {results.bfpo_bench}."
