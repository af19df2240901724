"""From a run's answers to its results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bfpo_bench import __version__
from bfpo_bench.also.task import AlsoTask
from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation import alpaca
from bfpo_bench.evaluation.resolve import Evaluation
from bfpo_bench.evaluation.verdicts import opinions, with_verdicts
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.identity import is_earlier
from bfpo_bench.run.results import SCHEMA_VERSION, Results, TaskResult
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.store import ResponseTotals, Store
from bfpo_bench.run.uncertainty import with_uncertainty
from bfpo_bench.suites import Suite
from bfpo_bench.tasks.requests import Task

if TYPE_CHECKING:
    from bfpo_bench.run.results import HelpfulnessResult

EARLIER = (
    "the run was begun by version 0.1, which kept less of model and judge: that config, tokenizer, "
    "number format and backend were the same throughout could not be checked"
)


def collect(
    evaluation: Evaluation,
    run: RunDirectory,
    store: Store,
    planned: list[Task],
    caveats: Sequence[str] = (),
    also: Sequence[AlsoTask] = (),
) -> Results:
    """Results over everything that the run holds whole.

    Tasks of an earlier command in the same directory keep their results.

    Args:
        caveats: what a reader must know of how the answers came about.
        also: lm-eval's own tasks with their requests.
    """
    earlier = _earlier(run)
    tasks = dict(earlier.tasks) if earlier else {}
    identity = run.identity
    # Somebody may have been asked by `bfpo-bench judge` since.
    refused_by = evaluation.judges.refused_by(identity)
    refused_by = refused_by or (earlier.refusal_judge if earlier else None)
    for task in planned:
        if task.annotated:
            continue
        cell = tasks[task.name] = _task_result(evaluation, store, task)
        if cell.judged:
            before = earlier.tasks.get(task.name) if earlier else None
            by = opinions(evaluation.judges, task.spec.prompts, refused_by, before)
            tasks[task.name] = with_verdicts(cell, store, *by)
    helpfulness = earlier.helpfulness if earlier else None
    for task in planned:
        if task.annotated and evaluation.annotator is not None:
            helpfulness = alpaca.result(evaluation, evaluation.annotator, run, store, task)
    order = [t.task for t in evaluation.suite.tasks]
    tasks = {name: tasks[name] for name in order if name in tasks}
    tasks, means = with_uncertainty(tasks, evaluation.suite.tasks, store)
    beside = evaluation.also.results(also, store, earlier)
    suite: dict[str, Any] = {
        "name": evaluation.suite.name,
        "version": evaluation.suite.version,
        "demonstration": evaluation.suite.demonstration,
    }
    if evaluation.suite.parts:
        suite["averaged"] = evaluation.suite.averaged()
    return Results(
        schema=SCHEMA_VERSION,
        bfpo_bench=__version__,
        model=identity["model"],
        suite=suite,
        backend=identity["backend"],
        judge=identity["judge"],
        seed=identity["seed"],
        limit=identity["limit"],
        tasks=tasks,
        averages=means,
        marks=[
            *_marks(evaluation, tasks),
            *(mark for name, mark in evaluation.left_out.items() if name not in {*tasks, *beside}),
            *_helpfulness_marks(evaluation, store, planned, helpfulness),
            *([EARLIER] if is_earlier(identity) else []),
            *caveats,
        ],
        helpfulness=helpfulness,
        answered={
            **(earlier.answered if earlier else {}),
            **{task.name: task.size for task in planned if task.annotated},
        },
        also=beside,
        refusal_judge=refused_by,
    )


def _earlier(run: RunDirectory) -> Results | None:
    try:
        return read_results(run.results_path)
    except BadInput:
        return None


def _helpfulness_marks(
    evaluation: Evaluation,
    store: Store,
    planned: list[Task],
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
        if task.spec.chat_template and evaluation.target.plain:
            marks.append(evaluation.target.plain)
        marks += evaluation.target.chat_marks
        totals = store.response_totals(task.name)
        if totals.cut_prompts:
            marks.append(f"{totals.cut_prompts} of {task.size} prompts cut on the left")
        marks += (
            _length_mark(evaluation.suite, task)
            + _answer_marks(totals, evaluation.options.thinking)
            + evaluation.target.unused_settings
        )
        if evaluation.annotator is None:
            marks.append(
                f"{task.size} responses are there; name who compares them with --annotator"
            )
    return [f"{column}: {mark}" for mark in marks]


def _task_result(evaluation: Evaluation, store: Store, task: Task) -> TaskResult:
    spec = task.spec
    loaded = task.loaded
    # A demonstration is marked once for the whole run, not in every cell.
    marks = [] if loaded.status == "demonstration" else list(loaded.marks)
    marks += [spec.note] if spec.note else []
    if loaded.status == "unverified":
        marks.append("no digest of this data is known, so the copy could not be checked")
    no_answer = 0
    finishes: dict[str, int] = {}
    if spec.generation is None:
        metrics = _mean_metrics(store, task)
        values = list(store.outcomes(task.name, spec.metric).values())
        cut = store.cut_items(task.name)
    else:
        responses = store.response_totals(task.name)
        n = responses.responses
        metrics = {"mean_tokens": responses.tokens / n, "cut_off": responses.cut_off / n}
        values = [math.nan] * n
        cut = responses.cut_prompts
        no_answer, finishes = responses.no_answer, responses.finishes
        marks += (
            _length_mark(evaluation.suite, task)
            + _answer_marks(responses, evaluation.options.thinking)
            + evaluation.target.unused_settings
        )
        if spec.chat_template and evaluation.target.plain:
            marks.append(evaluation.target.plain)
    assert len(values) == task.size, f"{task.name}: {len(values)} of {task.size} items"
    return TaskResult(
        task=task.name,
        version=spec.version,
        column=spec.column,
        group=spec.group,
        metric=spec.metric,
        direction=spec.direction,
        score=None if math.isnan(values[0]) else 100 * math.fsum(values) / len(values),
        stderr=None,
        n=len(values),
        items=len(task.ids),
        unknown=0,
        cut=cut,
        metrics=metrics,
        source={
            "name": loaded.source,
            "variant": loaded.variant,
            "where": loaded.where,
            "rows": len(loaded.rows),
            "digest": loaded.digest,
            "status": loaded.status,
        },
        marks=marks,
        no_answer=no_answer,
        finishes=finishes,
    )


def _length_mark(suite: Suite, task: Task) -> list[str]:
    """That responses may be longer than the suite has them, or not as long."""
    [usual] = [one.generation for one in suite.everything if one.task == task.name]
    drawn = task.spec.generation
    if drawn is None or usual is None or drawn.max_new_tokens == usual.max_new_tokens:
        return []
    return [
        f"responses have at most {drawn.max_new_tokens} tokens instead of the "
        f"{usual.max_new_tokens} of suite {suite.name}"
    ]


def _answer_marks(responses: ResponseTotals, thinking: str) -> list[str]:
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


def _mean_metrics(store: Store, task: Task) -> dict[str, float]:
    found = {}
    for metric in task.lm_eval_task.aggregation():
        values = store.outcomes(task.name, metric).values()
        if values:
            found[metric] = sum(values) / len(values)
    return found


def _marks(evaluation: Evaluation, tasks: dict[str, TaskResult]) -> list[str]:
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
