"""What a reader must know of an evaluation's numbers: the marks of its cells and of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bfpo_bench.evaluation.resolve import Evaluation
from bfpo_bench.run.enough_table import precision_mark
from bfpo_bench.run.store import ResponseTotals, Store
from bfpo_bench.suites import Suite
from bfpo_bench.tasks.requests import Task

if TYPE_CHECKING:
    from bfpo_bench.run.results import HelpfulnessResult, TaskResult

EARLIER = (
    "the run was begun by version 0.1, which kept less of model and judge: that config, tokenizer, "
    "number format and backend were the same throughout could not be checked"
)


def run_marks(evaluation: Evaluation, tasks: Mapping[str, TaskResult]) -> list[str]:
    """Those of the whole run, and of its cells."""
    marks = []
    if evaluation.suite.demonstration:
        marks.append(
            f"demonstration: suite {evaluation.suite.name} is a few bundled items and measures "
            "nothing"
        )
    if evaluation.options.limit is not None:
        marks.append(
            f"limited: at most {evaluation.options.limit} items per task, drawn with seed "
            f"{evaluation.options.seed}"
        )
    if evaluation.options.precision is not None:
        marks.append(precision_mark(evaluation.options.precision, tasks.values()))
    if evaluation.options.system_prompt is not None:
        marks.append("a system prompt stood before the prompts of the chat tasks")
    if any(spec.chat_template for spec in evaluation.suite.tasks if spec.task in tasks):
        marks += evaluation.target.chat_marks
    for task in tasks.values():
        marks += [f"{task.column}: {mark}" for mark in task.marks]
        if 0 < task.unknown < task.n:
            marks.append(f"{task.column}: {task.unknown} of {task.n} verdicts unknown")
        if task.cut:
            marks.append(f"{task.column}: {task.cut} of {task.n} prompts cut on the left")
    return marks


def helpfulness_marks(
    evaluation: Evaluation,
    store: Store,
    planned: Sequence[Task],
    helpfulness: HelpfulnessResult | None,
) -> list[str]:
    """What a reader must know of the Alpaca column."""
    column = evaluation.suite.helpfulness.column if evaluation.suite.helpfulness else "Alpaca"
    marks = []
    if helpfulness is not None:
        marks.append(
            f"annotated by {helpfulness.annotator}; not to be ranked against another annotator's"
        )
        marks += helpfulness.notes
    for task in planned:
        if not task.annotated:
            continue
        loaded = task.loaded
        marks += [] if loaded.status == "demonstration" else loaded.marks
        if evaluation.options.precision is not None:
            marks.append("all its items are asked, as a win rate is no share of them")
        if task.spec.chat_template and evaluation.target.plain:
            marks.append(evaluation.target.plain)
        marks += evaluation.target.chat_marks
        totals = store.response_totals(task.name)
        if totals.cut_prompts:
            marks.append(f"{totals.cut_prompts} of {task.size} prompts cut on the left")
        marks += (
            length_mark(evaluation.suite, task)
            + answer_marks(totals, evaluation.options.thinking)
            + evaluation.target.unused_settings
        )
        if evaluation.annotator is None:
            marks.append(
                f"{task.size} responses are there; name who compares them with --annotator"
            )
    return [f"{column}: {mark}" for mark in marks]


def length_mark(suite: Suite, task: Task) -> list[str]:
    """That responses may be longer than the suite has them, or not as long."""
    [usual] = [one.generation for one in suite.everything if one.task == task.name]
    drawn = task.spec.generation
    if drawn is None or usual is None or drawn.max_new_tokens == usual.max_new_tokens:
        return []
    return [
        f"responses have at most {drawn.max_new_tokens} tokens instead of the "
        f"{usual.max_new_tokens} of suite {suite.name}"
    ]


def answer_marks(responses: ResponseTotals, thinking: str) -> list[str]:
    """What a reader must know of thoughts, and of responses that hold no answer."""
    marks = []
    if responses.thoughts:
        marks.append(
            f"{responses.thoughts} of {responses.responses} responses hold a thought, which nobody "
            "judges" + (", although --thinking off was asked for" if thinking == "off" else "")
        )
    if not responses.no_answer:
        return marks
    whys = ", ".join(f"{count} {why}" for why, count in responses.no_answers.items())
    more = ""
    if "cut thought" in responses.no_answers:
        more = "; --thinking budget:N gives thoughts room of their own"
    silent = f"{responses.no_answer} of {responses.responses} responses hold no answer"
    return [*marks, f"{silent} ({whys}{more})"]
