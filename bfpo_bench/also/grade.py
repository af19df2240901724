"""From stored answers to lm-eval's figures, with intervals.

lm-eval's own objects filter the answers, grade each document, and add the grades up; here each
document's grade is kept as an outcome, and what can be said about chance is added.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bfpo_bench.also.find import lm_eval_seeds
from bfpo_bench.also.task import AlsoTask
from bfpo_bench.common.errors import RunFailed, first_line
from bfpo_bench.common.loggers import errors_only
from bfpo_bench.common.statistics import (
    Floats,
    draw_tasks,
    percentiles,
    spread,
    tally_items,
)
from bfpo_bench.run.also import AlsoMetric
from bfpo_bench.run.outcomes import item_groups
from bfpo_bench.run.store import OutcomeRecord, Store

RESAMPLES = 1_000
"""Of figures that are no means: lm-eval's ``bootstrap_iters=1000`` finds the same."""

_SLOW = {"bleu": 100, "chrf": 100, "chrf++": 100, "ter": 100}
"""Figures of whole corpora, of which lm-eval draws no more either."""


@dataclass(frozen=True)
class Graded:
    """A task's figures.

    Attributes:
        figures: lm-eval's entry of the task in its ``results``: ``acc,none``, ``acc_stderr,none`` …
        draws: by metric, the figure resampled, as often as the kind of figure asks for; shares in
            percent.
    """

    task: AlsoTask
    metrics: list[AlsoMetric]
    figures: dict[str, Any]
    draws: dict[str, Floats]


def grade(task: AlsoTask, store: Store) -> Graded:
    """Grades the stored answers to a task, and stores each item's grades.

    Raises:
        RunFailed: the task's own code fails; the answers are kept.
    """
    values = _graded(task, store)
    records = []
    for key, graded in values.items():
        numbers = {item: finite(value) for item, value in graded.items()}
        if None not in numbers.values():
            records += [
                OutcomeRecord(task.name, item, key, value)
                for item, value in numbers.items()
                if value is not None
            ]
    store.add_outcomes(records)
    groups = item_groups(store, task.name)
    aggregation, better = task.own.aggregation(), task.own.higher_is_better()
    metrics: list[AlsoMetric] = []
    figures: dict[str, Any] = {
        "alias": task.own.get_config("task_alias") or task.name,
        "sample_len": max(map(len, values.values()), default=0),
    }
    draws: dict[str, Floats] = {}
    for key, graded in values.items():
        name, _, filtered = key.rpartition(",")
        one, draws[key] = _figure(task, key, graded, aggregation.get(name), groups)
        if (which := better.get(name)) is not None:
            one = replace(one, higher_is_better=bool(which))
        metrics.append(one)
        figures[key] = one.value
        figures[f"{name}_stderr,{filtered}"] = "N/A" if one.stderr is None else one.stderr
    return Graded(task, metrics, figures, draws)


def _graded(task: AlsoTask, store: Store) -> dict[str, dict[str, Any]]:
    """By metric and filter, in lm-eval's order, what each item is graded with."""
    _answer(task, store)
    own = task.own
    found: dict[str, dict[str, Any]] = {}
    documents: dict[int, list[Any]] = {}
    for instance in own.instances:
        documents.setdefault(instance.doc_id, []).append(instance)
    try:
        with errors_only("lm_eval"), lm_eval_seeds():
            own.apply_filters()
            for filtered in own.instances[0].filtered_resps:
                for number, asked in documents.items():
                    asked = sorted(asked, key=lambda instance: int(instance.idx))
                    given = [instance.filtered_resps[filtered] for instance in asked]
                    item = task.ids[task.positions[number]]
                    for name, value in own.process_results(asked[0].doc, given).items():
                        found.setdefault(f"{name},{filtered}", {})[item] = value
    except Exception as error:
        raise RunFailed(
            f"{task.name}: lm-eval's own code cannot grade the answers ({type(error).__name__}: "
            f"{first_line(error)}); they are stored, so mend the task and run the same command "
            "again."
        ) from error
    return found


def _answer(task: AlsoTask, store: Store) -> None:
    """Puts the stored answers where lm-eval's evaluator would have put a model's."""
    instances = task.own.instances
    for instance in instances:
        instance.resps, instance.filtered_resps = [], {}
    if task.prompts:
        texts = {response.item: response.response for response in store.responses(task.name)}
        names = iter(task.names)
        for instance in instances:
            instance.resps = [texts[next(names)] for _ in range(instance.repeats or 1)]
        return
    scores = {(one.item, one.choice): one for one in store.scores(task.name)}
    choice: dict[str, int] = {}
    for instance in instances:
        item = task.ids[task.positions[instance.doc_id]]
        score = scores[item, choice.setdefault(item, 0)]
        choice[item] += 1
        rolling = instance.request_type == "loglikelihood_rolling"
        given = score.loglikelihood if rolling else (score.loglikelihood, score.is_greedy)
        instance.resps = [given] * (instance.repeats or 1)


def _figure(
    task: AlsoTask,
    key: str,
    graded: Mapping[str, Any],
    aggregation: Any,
    groups: Mapping[str, str] | None,
) -> tuple[AlsoMetric, Floats]:
    """A metric, and its draws."""
    from lm_eval.api.metrics import mean, stderr_for_metric

    values = list(graded.values())
    aggregation = aggregation or mean
    with errors_only("lm_eval"):
        value = finite(aggregation(values))
        # One resample is enough to be given a formula, and too few for lm-eval's slow bootstrap.
        closed = stderr_for_metric(aggregation, 1) if _has_formula(aggregation) else None
        stderr = finite(closed(values)) if closed is not None and len(values) > 1 else None
    numbers = [finite(one) for one in values]
    averaged = aggregation is mean and None not in numbers
    share = averaged and all(one is not None and 0 <= one <= 1 for one in numbers)
    name, _, filtered = key.rpartition(",")
    bare = AlsoMetric(
        *(name, filtered, value, None, None, None),
        n=len(values),
        higher_is_better=None,
        share=share,
        mean=averaged,
    )
    if value is None:
        return bare, np.array([])
    if share:
        known = [groups[item] for item in graded] if groups else None
        tally = tally_items([[one] for one in numbers], known)
        [drawn] = draw_tasks({f"{task.name}:{key}": tally}).values()
        sure = spread(tally, drawn[:, 0])
        low, high = sure.low / 100, sure.high / 100
        return replace(bare, stderr=stderr, low=low, high=high), drawn[:, 0]
    if len(values) < 2:
        return bare, np.array([])
    draws = _resampled(aggregation, values, _SLOW.get(key.partition(",")[0], RESAMPLES))
    low, high = percentiles(value, draws)
    if stderr is None:
        stderr = finite(np.std(draws, ddof=1))
    return replace(bare, stderr=stderr, low=low, high=high), draws


def _resampled(aggregation: Any, values: Sequence[Any], count: int) -> Floats:
    """A figure of resampled items, drawn as lm-eval draws them in its first 1,000 resamples."""
    rng = random.Random(0)
    drawn = []
    with errors_only("lm_eval"):
        for _ in range(count):
            drawn.append(float(aggregation(rng.choices(values, k=len(values)))))
    return np.asarray(drawn)


def _has_formula(aggregation: Any) -> bool:
    from lm_eval.api.metrics import acc_all, mean

    return aggregation in (mean, acc_all)


def finite(value: Any) -> float | None:
    """A finite number; None for all else, such as the pairs that a perplexity is made from."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
