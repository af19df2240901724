"""From a run's answers to its results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bfpo_bench import __version__
from bfpo_bench.also.task import AlsoTask
from bfpo_bench.evaluation import alpaca
from bfpo_bench.evaluation.marks import (
    EARLIER,
    answer_marks,
    helpfulness_marks,
    length_mark,
    run_marks,
)
from bfpo_bench.evaluation.resolve import Evaluation
from bfpo_bench.evaluation.rounds import Rounds
from bfpo_bench.evaluation.verdicts import opinions, with_verdicts
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.identity import is_earlier
from bfpo_bench.run.results import SCHEMA_VERSION, Results, TaskResult
from bfpo_bench.run.results_files import results_there
from bfpo_bench.run.store import Store
from bfpo_bench.run.uncertainty import with_uncertainty
from bfpo_bench.tasks.requests import Task


def collect(
    evaluation: Evaluation,
    run: RunDirectory,
    store: Store,
    rounds: Sequence[Rounds],
    caveats: Sequence[str] = (),
    also: Sequence[AlsoTask] = (),
) -> Results:
    """Results over everything that the run holds whole.

    Tasks of an earlier command in the same directory keep their results.

    Args:
        rounds: the tasks, with the rounds in which they were asked.
        caveats: what a reader must know of how the answers came about.
        also: lm-eval's own tasks with their requests.
    """
    earlier = results_there(run.results_path)
    tasks = dict(earlier.tasks) if earlier else {}
    identity = run.identity
    # Somebody may have been asked by `bfpo-bench judge` since.
    refused_by = evaluation.judges.refused_by(identity)
    refused_by = refused_by or (earlier.refusal_judge if earlier else None)
    planned = [one.asked for one in rounds]
    for one, task in zip(rounds, planned, strict=True):
        if task.annotated:
            continue
        cell = tasks[task.name] = _task_result(evaluation, store, task, one)
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
            *run_marks(evaluation, tasks),
            *(mark for name, mark in evaluation.left_out.items() if name not in {*tasks, *beside}),
            *helpfulness_marks(evaluation, store, planned, helpfulness),
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
        precision=identity.get("precision"),
    )


def _task_result(evaluation: Evaluation, store: Store, task: Task, rounds: Rounds) -> TaskResult:
    spec = task.spec
    loaded = task.loaded
    # A demonstration is marked once for the whole run, not in every cell.
    marks = [] if loaded.status == "demonstration" else list(loaded.marks)
    marks += [spec.note] if spec.note else []
    marks += [rounds.why_whole] if rounds.why_whole else []
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
            length_mark(evaluation.suite, task)
            + answer_marks(responses, evaluation.options.thinking)
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
        enough=rounds.enough(),
    )


def _mean_metrics(store: Store, task: Task) -> dict[str, float]:
    found = {}
    for metric in task.lm_eval_task.aggregation():
        values = store.outcomes(task.name, metric).values()
        if values:
            found[metric] = sum(values) / len(values)
    return found
