"""The stages of an evaluation: score, respond, judge. Each goes on where it stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from bfpo_bench.engines.protocol import Engine, NonFiniteLogits, Response
from bfpo_bench.errors import RunFailed
from bfpo_bench.judges import Exchange, Judge, judge_all
from bfpo_bench.plan import Asked, PlannedTask
from bfpo_bench.progress import Progress
from bfpo_bench.store import (
    ItemRecord,
    OutcomeRecord,
    ResponseRecord,
    ScoreRecord,
    Store,
    VerdictRecord,
    answer_key,
)

JUDGE_CHUNK = 256
"""Responses judged between two commits where the judge runs here; fixed, so that a resumed run
forms the same chunks."""


def store_items(task: PlannedTask, store: Store) -> None:
    """Notes the items of a task with their rows."""
    store.add_items(
        ItemRecord(task.name, i.id, i.position, json.dumps(i.row, sort_keys=True, default=str))
        for i in task.items
    )


def unanswered(task: PlannedTask, model_key: str, store: Store) -> bool:
    """Whether the model has yet to answer some request of a task."""
    if task.scores:
        return not store.keys("scores", task.name).issuperset(score_keys(task, model_key))
    stored = store.keys("responses", task.name)
    # Keys are made from the prompts, which are only written when there may be nothing to do.
    return len(stored) < len(task.prompts) or any(
        response_key(task, index, model_key) not in stored for index in range(len(task.prompts))
    )


# ------------------------------------------------------------------------- score


def score_keys(task: PlannedTask, model_key: str) -> list[str]:
    """Key of each score request of a task."""
    return [
        answer_key(
            "score", model_key, task.name, item, choice, request.context, request.continuation
        )
        for (item, choice), request in zip(_choices(task), task.scores, strict=True)
    ]


def score(
    task: PlannedTask, model_key: str, engine: Engine, store: Store, progress: Progress
) -> None:
    """Computes the log-likelihoods of a task that are not stored yet.

    Raises:
        RunFailed: a log-likelihood is not a finite number; names task and item.
    """
    keys = score_keys(task, model_key)
    stored = store.keys("scores", task.name)
    done = {i for i, key in enumerate(keys) if key in stored}
    owners = list(_choices(task))
    with progress.stage(f"score {task.name}", len(keys), len(done), "choices"):
        for batch in engine.score(task.scores, done):
            records = []
            for index, answer in batch:
                item, choice = owners[index]
                if not math.isfinite(answer.loglikelihood):
                    raise _broken(task.name, item, f"log-likelihood {answer.loglikelihood}")
                request = task.scores[index]
                records.append(
                    ScoreRecord(
                        keys[index],
                        task.name,
                        item,
                        choice,
                        request.context,
                        request.continuation,
                        answer.loglikelihood,
                        answer.is_greedy,
                        answer.cut_tokens,
                    )
                )
            store.add_scores(records)
            progress.advance(sum(1 for index, _ in batch if index not in done))


def store_outcomes(task: PlannedTask, store: Store) -> None:
    """Turns a task's stored scores into the metrics of each item, by the task's own rules."""
    rows = iter(sorted(store.scores(task.name), key=lambda r: (r.item, r.choice)))
    answers: dict[str, list[tuple[float, bool]]] = {}
    for row in rows:
        answers.setdefault(row.item, []).append((row.loglikelihood, row.is_greedy))
    records = []
    for item, count in zip(task.items, task.choices, strict=True):
        given = answers[item.id]
        assert len(given) == count, f"{task.name}, item {item.id}: {len(given)} of {count} scores"
        metrics = task.lm_eval_task.process_results(item.doc, given)
        records += [
            OutcomeRecord(task.name, item.id, metric, float(value))
            for metric, value in metrics.items()
        ]
    store.add_outcomes(records)


def _choices(task: PlannedTask) -> Iterator[tuple[str, int]]:
    for item, count in zip(task.items, task.choices, strict=True):
        for choice in range(count):
            yield item.id, choice


# ----------------------------------------------------------------------- respond


def response_key(task: Asked, index: int, model_key: str) -> str:
    """Key of the response to one prompt of a task."""
    request = task.prompts[index]
    item, settings = task.item_id(index), request.sampling.as_dict()
    return answer_key(
        "response", model_key, task.name, item, request.prompt, settings, request.seed
    )


def respond(task: Asked, model_key: str, engine: Engine, store: Store, progress: Progress) -> None:
    """Generates the responses of a task that are not stored yet.

    Raises:
        RunFailed: the model's logits are not numbers; names task and item.
    """
    total = len(task.prompts)
    stored = store.keys("responses", task.name)
    done = {
        index
        for index in range(total if stored else 0)
        if response_key(task, index, model_key) in stored
    }
    del stored

    def record(index: int, answer: Response) -> ResponseRecord:
        request = task.prompts[index]
        return ResponseRecord(
            key=response_key(task, index, model_key),
            task=task.name,
            item=task.item_id(index),
            prompt=request.prompt,
            question=task.questions[index],
            response=answer.text,
            finish=answer.finish,
            seed=request.seed,
            prompt_tokens=answer.prompt_tokens,
            tokens=answer.tokens,
            cut_tokens=answer.cut_tokens,
        )

    with progress.stage(f"respond {task.name}", total, len(done), "responses"):
        try:
            for batch in engine.respond(task.prompts, done):
                store.add_responses(record(index, answer) for index, answer in batch)
                fresh = [answer for index, answer in batch if index not in done]
                progress.advance(len(fresh), tokens=sum(answer.tokens for answer in fresh))
        except NonFiniteLogits as error:
            raise _broken(task.name, task.item_id(error.index), "NaN logits") from error


def _broken(task: str, item: str, what: str) -> RunFailed:
    return RunFailed(
        f"{task}, item {item}: the model gave {what}; its weights are damaged or its numbers "
        "overflow (try --dtype float32 or bfloat16). Nothing of this item was stored."
    )


# ------------------------------------------------------------------------- judge


def verdict_key(judge_key: str, response: ResponseRecord) -> str:
    """Key of a verdict: the judge, and the exchange that it saw."""
    return answer_key("verdict", judge_key, response.key, response.question, response.response)


def unjudged(responses: Sequence[ResponseRecord], judge_key: str, store: Store) -> bool:
    """Whether some response has no verdict of this judge yet."""
    stored = store.keys("verdicts")
    return any(verdict_key(judge_key, response) not in stored for response in responses)


def judge(
    title: str,
    responses: Sequence[ResponseRecord],
    name: str,
    judge_key: str,
    judge: Judge,
    store: Store,
    progress: Progress,
) -> None:
    """Judges the responses that have no verdict of this judge yet, storing verdicts as they come.

    Raises:
        BadInput, RunFailed: the judge's server refuses or fails; verdicts given before are kept.
    """
    keys = [verdict_key(judge_key, response) for response in responses]
    stored = store.keys("verdicts")
    known = {i for i, key in enumerate(keys) if key in stored}
    exchanges = (Exchange(response.question, response.response) for response in responses)
    undecided = store.undecided()
    unknown = sum(keys[i] in undecided for i in known)
    with progress.stage(f"judge {title}", len(keys), len(known), "verdicts"):
        for batch in judge_all(judge, exchanges, known, JUDGE_CHUNK):
            store.add_verdicts(
                VerdictRecord(keys[i], name, responses[i].key, v.harmful, v.p_harmful, v.raw)
                for i, v in batch
            )
            fresh = [verdict for i, verdict in batch if i not in known]
            unknown += sum(verdict.harmful is None for verdict in fresh)
            progress.advance(len(fresh), f"{unknown} unknown" if unknown else "")


def model_key(identity: dict[str, Any]) -> str:
    """Key of all that scores and responses depend on besides the request itself."""
    parts = ("model", "backend", "dtype", "max_length")
    # The name a model goes by does not change its answers.
    model = {k: v for k, v in identity["model"].items() if k not in ("name", "revision")}
    return answer_key("model", model, *(identity[part] for part in parts[1:]))
