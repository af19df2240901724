"""One sample as one flat row, the same columns whatever the task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from bfpo_bench.export.samples import RunSamples, Sample


def rows(run: RunSamples) -> Iterator[dict[str, Any]]:
    """Every sample of a run as a row; docs/export.md describes the columns."""
    for task in run.tasks:
        column, group = run.placing(task)
        head = {
            "model": run.model,
            "suite": run.suite,
            "task": task,
            "column": column,
            "group": group,
        }
        for sample in run.of(task):
            yield {**head, **_row(sample)}


def _row(sample: Sample) -> dict[str, Any]:
    response = sample.response
    return {
        "item": sample.item.item,
        "position": sample.item.position,
        "row": sample.row,
        "metrics": sample.metrics,
        "choices": [_without(asdict(score), "key", "task", "item") for score in sample.scores],
        "prompt": response and response.prompt,
        "question": response and response.question,
        "response": response and response.response,
        "thought": response and response.thought,
        "no_answer": response and response.no_answer,
        "finish": response and response.finish,
        "seed": response and response.seed,
        "prompt_tokens": response and response.prompt_tokens,
        "tokens": response and response.tokens,
        "cut_tokens": response and response.cut_tokens,
        "verdicts": verdict_rows(sample),
    }


def verdict_rows(sample: Sample) -> list[dict[str, Any]]:
    """Judge, harmful, p_harmful and raw of every verdict on a sample's response."""
    return [_without(asdict(verdict), "key", "task", "item") for verdict in sample.verdicts]


def _without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}
