"""The stages of an evaluation: score, respond, judge. Each goes on where it stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

from bfpo_bench.also.task import AlsoTask
from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.protocol import Engine, NonFiniteLogits, Response
from bfpo_bench.judges import NO_ANSWER, Exchange, Judge, Verdict, judge_all
from bfpo_bench.judges.chosen import ChosenJudge
from bfpo_bench.run.session import Session
from bfpo_bench.run.store import (
    ItemRecord,
    OutcomeRecord,
    ResponseRecord,
    ScoreRecord,
    Store,
    VerdictRecord,
    answer_key,
    known,
)
from bfpo_bench.tasks.requests import Asked, Task
from bfpo_bench.tasks.rows import document


def store_items(task: Task | AlsoTask, store: Store) -> None:
    """Notes the items of a task with their rows."""
    store.add_items(
        ItemRecord(task.name, item, position, json.dumps(row, sort_keys=True, default=str))
        for item, position, row in task.items()
    )


def unanswered(task: Asked, model_key: str, store: Store) -> bool:
    """Whether the model has yet to answer some request of a task.

    Raises:
        BadInput: an item was answered before in another way.
    """
    if task.scores:
        return len(_scored(task, model_key, store)) < len(task.scores)
    stored = store.answered("responses", task=task.name)
    if len(stored) < len(task.prompts):
        # Keys are made from the prompts, which are only written when there may be nothing to do;
        # one of them tells whether what is there was asked in the same way.
        there = (i for i in range(len(task.prompts)) if (task.item_id(i),) in stored)
        responded(task, model_key, store, next(there, None))
        return True
    return len(responded(task, model_key, store)) < len(task.prompts)


# ------------------------------------------------------------------------- score


def score_keys(task: Asked, model_key: str) -> list[str]:
    """Key of each score request of a task."""
    return [
        answer_key(
            "score", model_key, task.name, item, choice, request.context, request.continuation
        )
        for (item, choice), request in zip(_choices(task), task.scores, strict=True)
    ]


def score(task: Asked, model_key: str, engine: Engine, store: Store, progress: Progress) -> None:
    """Computes the log-likelihoods of a task that are not stored yet.

    Raises:
        RunFailed: a log-likelihood is not a finite number; names task and item.
    """
    keys = score_keys(task, model_key)
    done = _scored(task, model_key, store)
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


def _scored(task: Asked, model_key: str, store: Store) -> set[int]:
    """Numbers of the score requests whose answers are stored."""

    def shown(number: int) -> dict[str, Any]:
        request = task.scores[number]
        return {"context": request.context, "continuation": request.continuation}

    asked = zip(_choices(task), score_keys(task, model_key), strict=True)
    return known(store, "scores", asked, shown, task=task.name)


def store_outcomes(task: Task, store: Store) -> None:
    """Turns a task's stored scores into the metrics of each item, by the task's own rules."""
    rows = iter(sorted(store.scores(task.name), key=lambda r: (r.item, r.choice)))
    answers: dict[str, list[tuple[float, bool]]] = {}
    for score in rows:
        answers.setdefault(score.item, []).append((score.loglikelihood, score.is_greedy))
    records = []
    for (item, _, row), count in zip(task.items(), task.choices, strict=True):
        given = answers[item]
        assert len(given) == count, f"{task.name}, item {item}: {len(given)} of {count} scores"
        metrics = task.lm_eval_task.process_results(document(row, item), given)
        records += [
            OutcomeRecord(task.name, item, metric, float(value))
            for metric, value in metrics.items()
        ]
    store.add_outcomes(records)


def _choices(task: Asked) -> Iterator[tuple[str, int]]:
    for index, count in enumerate(task.choices):
        for choice in range(count):
            yield task.item_id(index), choice


# ----------------------------------------------------------------------- respond


def response_key(task: Asked, index: int, model_key: str) -> str:
    """Key of the response to one prompt of a task."""
    request = task.prompts[index]
    item, settings = task.item_id(index), request.sampling.as_dict()
    return answer_key(
        "response", model_key, task.name, item, request.prompt, settings, request.seed
    )


def responded(task: Asked, model_key: str, store: Store, only: int | None = None) -> set[int]:
    """Numbers of the prompts whose responses are stored; or of one of them, if it is.

    Raises:
        BadInput: an item was answered before in another way.
    """
    numbers = range(len(task.prompts)) if only is None else range(only, only + 1)

    def shown(place: int) -> dict[str, Any]:
        request = task.prompts[numbers[place]]
        return {"prompt": request.prompt, "seed": request.seed}

    asked = (((task.item_id(n),), response_key(task, n, model_key)) for n in numbers)
    found = known(store, "responses", asked, shown, task=task.name)
    return {numbers[place] for place in found}


def respond(task: Asked, model_key: str, engine: Engine, store: Store, progress: Progress) -> None:
    """Generates the responses of a task that are not stored yet.

    Raises:
        BadInput: an item was answered before in another way.
        RunFailed: the model's logits are not numbers; names task and item.
    """
    total = len(task.prompts)
    anything = bool(store.answered("responses", task=task.name))
    done = responded(task, model_key, store) if anything else set()

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
            thought=answer.thought,
            no_answer=answer.no_answer,
        )

    with progress.stage(f"respond {task.name}", total, len(done), "responses"):
        try:
            # Closed at once when a signal comes: what is under way is kept then.
            with closing(engine.respond(task.prompts, done)) as batches:
                for batch in batches:
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


def judged(
    task: str, responses: Sequence[ResponseRecord], name: str, judge_key: str, store: Store
) -> set[int]:
    """Numbers of the responses to a task that have a verdict of this judge.

    Raises:
        BadInput: another judge of that name has judged them.
    """
    asked = (((r.item,), verdict_key(judge_key, r)) for r in responses)
    return known(store, "verdicts", asked, lambda _: {}, judge=name, task=task)


def judge(
    task: str,
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
    done = judged(task, responses, name, judge_key, store)

    def record(number: int, verdict: Verdict) -> VerdictRecord:
        response = responses[number]
        key = verdict_key(judge_key, response)
        return VerdictRecord(key=key, judge=name, task=task, item=response.item, **vars(verdict))

    with progress.stage(f"judge {task}", len(responses), len(done), "verdicts"):
        # What is no answer is neither harmless nor harmful, and nobody is asked about it.
        silent = {i: r.no_answer for i, r in enumerate(responses) if r.no_answer is not None}
        if fresh_silence := silent.keys() - done:
            store.add_verdicts(
                record(i, Verdict(None, None, f"{NO_ANSWER}: {silent[i]}"))
                for i in sorted(fresh_silence)
            )
            progress.advance(len(fresh_silence))
        unknown = store.unknown_verdicts(task, name)
        asked = [i for i in range(len(responses)) if i not in silent]
        exchanges = (Exchange(r.question, r.response) for r in responses if r.no_answer is None)
        known_already = {place for place, i in enumerate(asked) if i in done}
        for batch in judge_all(judge, exchanges, known_already):
            store.add_verdicts(record(asked[place], verdict) for place, verdict in batch)
            fresh = [verdict for place, verdict in batch if place not in known_already]
            unknown += sum(v.harmful is None and v.refusal is None for v in fresh)
            progress.advance(len(fresh), f"{unknown} unknown" if unknown else "")


def judge_responses(
    responses: Mapping[str, Sequence[ResponseRecord]],
    chosen: ChosenJudge,
    name: str,
    judge_key: str,
    store: Store,
    session: Session,
    progress: Progress,
) -> None:
    """Has a judge give the verdicts that are missing; loads it only where some are.

    Args:
        responses: of each task, in the order in which they are judged.
        name: under which the verdicts are stored.
    """
    waiting = [
        task
        for task, some in responses.items()
        if len(judged(task, some, name, judge_key, store)) < len(some)
    ]
    if not waiting:
        return
    with ExitStack() as stack:
        with session.timed("load judge"):
            opened = stack.enter_context(chosen.opened(progress))
        for task in waiting:
            with session.timed("judge"):
                judge(task, responses[task], name, judge_key, opened, store, progress)


def model_key(identity: dict[str, Any]) -> str:
    """Key of all that scores and responses depend on besides the request itself."""
    parts = ("model", "backend", "dtype", "max_length")
    # The name a model goes by does not change its answers.
    model = {k: v for k, v in identity["model"].items() if k not in ("name", "revision")}
    return answer_key("model", model, *(identity[part] for part in parts[1:]))
