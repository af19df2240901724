"""What was graded of lm-eval's tasks as results: of each task, and of groups of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bfpo_bench.also.find import with_parts
from bfpo_bench.also.grade import Graded, finite
from bfpo_bench.common.loggers import errors_only
from bfpo_bench.common.statistics import (
    percentiles,
)
from bfpo_bench.run.also import AlsoMetric, AlsoResult
from bfpo_bench.run.store import Store


def results_of(
    graded: Mapping[str, Graded], groups: Mapping[str, Any], asked: Sequence[str], store: Store
) -> dict[str, AlsoResult]:
    """The results of all that was asked for and of its parts, in the order asked for.

    Args:
        graded: tasks by name.
        groups: lm-eval's groups by name.
    """
    found = {}
    for name in with_parts(asked, groups):
        if name in groups:
            found[name] = _group_result(groups[name], graded, name in asked)
        else:
            found[name] = _task_result(graded[name], name in asked, store)
    return found


def _task_result(graded: Graded, asked: bool, store: Store) -> AlsoResult:
    task = graded.task
    notes = []
    if task.prompts:
        totals = store.response_totals(task.name)
        cut = totals.cut_prompts
        if totals.cut_off:
            notes.append(f"{totals.cut_off} of {totals.responses} answers cut at their limit")
        if totals.thoughts:
            notes.append(f"{totals.thoughts} answers graded without the thought before them")
    else:
        cut = store.cut_items(task.name)
    if cut:
        notes.append(f"{cut} of {task.size} prompts cut on the left")
    notes += _notes(graded.metrics)
    return AlsoResult(
        task=task.name,
        title=str(graded.figures["alias"]).strip(" -"),
        asked=asked,
        parts=[],
        leaves=[],
        version=str(task.own.VERSION),
        examples=task.examples,
        chat_template=task.chat,
        n=task.size,
        items=len(task.docs),
        cut=cut,
        data=task.where,
        metrics=graded.metrics,
        notes=notes,
    )


def _group_result(group: Any, graded: Mapping[str, Graded], asked: bool) -> AlsoResult:
    leaves = [str(task.task_name) for task in group.get_all_tasks()]
    parts = [graded[name] for name in leaves]
    figures = {name: graded[name].figures for name in leaves}
    with errors_only("lm_eval"):
        whole = group.aggregate(figures)
    metrics = []
    for setting in group.aggregate_metric_list or ():
        for key in whole:
            if key.partition(",")[0] == setting.metric and "," in key:
                metrics.append(_group_metric(key, whole, parts, bool(setting.weight_by_size)))
    return AlsoResult(
        task=str(group.name),
        title=str(group.alias or group.name).strip(" -"),
        asked=asked,
        parts=list(group.child_names),
        leaves=leaves,
        version=str(group.version),
        examples=None,
        chat_template=any(part.task.chat for part in parts),
        n=sum(part.task.size for part in parts),
        items=sum(len(part.task.docs) for part in parts),
        cut=0,
        data="its tasks'",
        metrics=metrics,
        notes=[],
    )


def _group_metric(
    key: str, whole: Mapping[str, Any], parts: Sequence[Graded], weighted: bool
) -> AlsoMetric:
    name, _, filtered = key.partition(",")
    inside = [(part, metric) for part in parts for metric in part.metrics if metric.key == key]
    share = all(metric.share for _, metric in inside)
    value = finite(whole[key])
    draws = [part.draws[key] for part, _ in inside]
    low = high = None
    if value is not None and len({len(one) for one in draws} - {0}) == 1 and all(map(len, draws)):
        sizes = [part.figures["sample_len"] if weighted else 1 for part, _ in inside]
        scale = 100 if share else 1
        drawn = np.average(np.stack(draws), axis=0, weights=sizes) / scale
        low, high = percentiles(value, drawn)
    better = {metric.higher_is_better for _, metric in inside}
    return AlsoMetric(
        *(name, filtered, value, finite(whole.get(f"{name}_stderr,{filtered}")), low, high),
        n=sum(metric.n for _, metric in inside),
        higher_is_better=better.pop() if len(better) == 1 else None,
        share=share,
        mean=all(metric.mean for _, metric in inside),
        weighted=weighted,
    )


def _notes(metrics: Sequence[AlsoMetric]) -> list[str]:
    """What must be known of figures without an interval, or that are no mean."""
    return [
        f"{metric.key} has no number, as lm-eval finds none"
        for metric in metrics
        if metric.value is None
    ]
