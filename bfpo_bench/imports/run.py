"""A run directory made of answers that another tool has asked for.

What such a file does not say (how prompts were written, sampling, weights) stands in no identity
and so nowhere in the protocol of its numbers: that names the tool instead, and is another one than
that of any run of bfpo-bench.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bfpo_bench import __version__
from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.thoughts import split
from bfpo_bench.imports.answers import Answer
from bfpo_bench.imports.tasks import Imported
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.marks import NO_HARM, NO_REFUSALS
from bfpo_bench.run.results import SCHEMA_VERSION, Results, TaskResult
from bfpo_bench.run.store import (
    ItemRecord,
    OutcomeRecord,
    ResponseRecord,
    ScoreRecord,
    Store,
    answer_key,
)
from bfpo_bench.run.table import markdown
from bfpo_bench.run.uncertainty import with_uncertainty

BATCH = 500
"""Answers that are written at once."""


def make_run(tasks: Sequence[Imported], model: str, place: Path) -> int:
    """Writes the run of these tasks; returns how many answers it holds.

    Raises:
        BadInput: a file changes while it is read.
    """
    identity = _identity(tasks, model)
    with RunDirectory(place, identity) as run, run.open_store() as store:
        count = sum(_store(store, task, model) for task in tasks)
        results = _results(tasks, identity, store)
        run.write_text("table.md", markdown(results))
        run.write_text(run.results_path.name, results.to_json())
    return count


def _identity(tasks: Sequence[Imported], model: str) -> dict[str, Any]:
    tools = ", ".join(dict.fromkeys(log.tool for task in tasks for log in task.logs))
    suite = tasks[0].suite
    return {
        "model": {"name": model},
        "answers_from": tools,
        "template": "not recorded",
        "suite": {"name": suite.name, "version": suite.version},
        "tasks": {task.name: task.identity() for task in tasks},
        "data": {str(task.source["name"]): task.data() for task in tasks},
        "limit": None,
        "seed": 0,
        "judge": None,
    }


def _store(store: Store, task: Imported, model: str) -> int:
    count = 0
    items: list[ItemRecord] = []
    responses: list[ResponseRecord] = []
    scores: list[ScoreRecord] = []
    outcomes: list[OutcomeRecord] = []

    def write() -> None:
        store.add_items(items)
        store.add_responses(responses)
        store.add_scores(scores)
        store.add_outcomes(outcomes)
        for batch in (items, responses, scores, outcomes):
            batch.clear()

    for answer, item, position, row in task.answers():
        count += 1
        text = json.dumps(row, sort_keys=True, default=str)
        items.append(ItemRecord(task.name, item, position, text))
        if answer.response is not None:
            responses.append(_response(task, answer, item, model))
        for number, choice in enumerate(answer.choices):
            key = answer_key("imported", model, task.name, item, number, choice.context)
            scores.append(ScoreRecord(key, task.name, item, number, **vars(choice), cut_tokens=0))
        outcomes += [
            OutcomeRecord(task.name, item, name, value) for name, value in answer.metrics.items()
        ]
        if count % BATCH == 0:
            write()
    write()
    if count != task.size:
        raise BadInput(
            f"{task.logs[0].path} was changed while it was read; run the same command again."
        )
    return count


def _response(task: Imported, answer: Answer, item: str, model: str) -> ResponseRecord:
    assert answer.response is not None
    thought, text = answer.thought, answer.response
    if thought is None:
        # One that stands in the text is no part of the answer that is judged.
        thought, text = split(text, "", None)
    no_answer = None if text.strip() else "empty"
    return ResponseRecord(
        key=answer_key("imported", model, task.name, item, answer.question, answer.response),
        task=task.name,
        item=item,
        prompt=answer.question if answer.prompt is None else answer.prompt,
        question=answer.question,
        response=text,
        finish=answer.finish,
        seed=0,
        prompt_tokens=answer.prompt_tokens,
        tokens=answer.tokens,
        cut_tokens=0,
        thought=thought,
        no_answer=no_answer,
    )


def _results(tasks: Sequence[Imported], identity: dict[str, Any], store: Store) -> Results:
    suite = tasks[0].suite
    cells = {task.name: _cell(task, store) for task in tasks}
    cells, means = with_uncertainty(cells, suite.tasks, store)
    notes = dict.fromkeys(note for task in tasks for log in task.logs for note in log.notes)
    asked = (
        f"answers imported from {identity['answers_from']}: how the prompts were written, the "
        "model's weights and all settings that its files do not say are not recorded, so nothing "
        "here is ranked with runs of bfpo-bench"
    )
    own = [f"{cell.column}: {mark}" for cell in cells.values() for mark in cell.marks]
    return Results(
        schema=SCHEMA_VERSION,
        bfpo_bench=__version__,
        model=identity["model"],
        suite={**identity["suite"], "demonstration": suite.demonstration},
        backend=identity["answers_from"],
        judge=None,
        seed=identity["seed"],
        limit=None,
        tasks=cells,
        averages=means,
        marks=[asked, *notes, *own],
    )


def _cell(task: Imported, store: Store) -> TaskResult:
    spec = task.spec
    metrics: dict[str, float] = {}
    score, finishes, no_answer = None, {}, 0
    marks = list(task.marks)
    if spec.judged:
        totals = store.response_totals(task.name)
        finishes, no_answer = totals.finishes, totals.no_answer
        marks.append(NO_HARM if spec.metric == "harmless" else NO_REFUSALS)
    else:
        for metric in task.metrics:
            values = list(store.outcomes(task.name, metric).values())
            metrics[metric] = math.fsum(values) / len(values)
            if metric == spec.metric:
                score = 100 * math.fsum(values) / len(values)
    return TaskResult(
        task=task.name,
        version=spec.version,
        column=spec.column,
        group=spec.group,
        metric=spec.metric,
        direction=spec.direction,
        score=score,
        stderr=None,
        n=task.size,
        items=task.size,
        unknown=0,
        cut=0,
        metrics=metrics,
        source=task.source,
        marks=marks,
        finishes=finishes,
        no_answer=no_answer,
    )
