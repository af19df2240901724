"""One sample of a run as inspect_ai's log holds it: what was asked, answered, and said of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from bfpo_bench.export.samples import Sample
from bfpo_bench.export.tables import without

OURS = "bfpo_bench"
"""The key, among the metadata of logs and samples, of what only bfpo-bench knows to read."""

ELSEWHERE = ("question", "response", "thought")
"""Of a response, what stands in the log's own fields: its input and its output."""

EPOCH = 1
"""An item has one answer in a run."""

_FINISHES = {"stop": "stop", "length": "max_tokens", "content_filter": "content_filter"}
_LONGEST = 5000
"""Characters of a text in a summary; inspect_ai itself cuts there at 5120."""

_LONGEST_SAID = 1000
"""The same of what a judge has said, of what that is about, and of metadata."""

_SAID = ("answer", "explanation")
"""Of a score, what was scored and what was said of it."""


def sample_id(item: str) -> str:
    """The item's id as part of a file's name, told apart by a hash where it is not one itself."""
    if re.fullmatch(r"[\w-][\w.-]{0,150}", item, re.ASCII):
        return item
    plain = re.sub(r"[^\w.-]", "-", item, flags=re.ASCII)[:100]
    return f"{plain}-{sha256(item.encode()).hexdigest()[:8]}"


def sample_content(sample: Sample, model: str) -> dict[str, Any]:
    """An ``EvalSample`` of inspect_ai as JSON values; the texts are the model's and not trusted."""
    answer = _judged(sample) if sample.response is not None else _scored(sample)
    message: dict[str, Any] = {
        "role": "assistant",
        "source": "generate",
        "model": model,
        "content": answer.pop("content"),
    }
    reason, usage = answer.pop("stop_reason"), answer.pop("usage")
    return {
        "id": sample_id(sample.item.item),
        "epoch": EPOCH,
        **answer,
        # What is right stands in the row, by every source's own field.
        "target": "",
        "messages": [{"role": "user", "source": "input", "content": answer["input"]}, message],
        "output": {
            "model": model,
            "choices": [{"message": message, "stop_reason": reason}],
            "completion": _text(message["content"]),
            "usage": usage,
        },
        "scores": dict(_scores(sample, _text(message["content"]))),
        "metadata": {**sample.row, OURS: _kept(sample)},
        "model_usage": {model: usage} if usage else {},
    }


def summary_of(content: dict[str, Any]) -> dict[str, Any]:
    """The same sample in short, as viewers list it: its long texts cut, its metadata plain."""
    plain = {
        name: value[:_LONGEST_SAID] if isinstance(value, str) else value
        for name, value in content["metadata"].items()
        if isinstance(value, str | int | float | None)
    }
    scores = {
        name: {
            part: one and one[:_LONGEST_SAID] if part in _SAID else one
            for part, one in score.items()
        }
        for name, score in content["scores"].items()
    }
    return {
        "id": content["id"],
        "epoch": content["epoch"],
        "input": content["input"][:_LONGEST],
        "choices": [choice[:_LONGEST] for choice in content["choices"]]
        if content.get("choices")
        else None,
        "target": content["target"],
        "metadata": plain,
        "scores": scores,
        "model_usage": content["model_usage"],
        "completed": True,
        "message_count": len(content["messages"]),
    }


def _judged(sample: Sample) -> dict[str, Any]:
    response = sample.response
    assert response is not None
    content: Any = response.response
    if response.thought is not None:
        thought = {"type": "reasoning", "reasoning": response.thought}
        content = [thought, {"type": "text", "text": response.response}]
    return {
        "input": response.question,
        "content": content,
        "stop_reason": _FINISHES.get(response.finish, "unknown"),
        "usage": {
            "input_tokens": response.prompt_tokens,
            "output_tokens": response.tokens,
            "total_tokens": response.prompt_tokens + response.tokens,
        },
    }


def _scored(sample: Sample) -> dict[str, Any]:
    """What all choices begin with is the input, and how each goes on is a choice."""
    shared, choices, likeliest = sample.as_choices()
    return {
        "input": shared,
        "choices": choices,
        "content": choices[likeliest],
        "stop_reason": "unknown",
        "usage": None,
    }


def _text(content: Any) -> str:
    return content if isinstance(content, str) else str(content[-1]["text"])


def _scores(sample: Sample, answer: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A score for each metric of a scored item, and for each verdict on a response.

    Args:
        answer: the response, or of a scored item the choice that the model gave most.
    """
    for metric, value in sample.metrics.items():
        yield metric, {"value": value, "answer": answer}
    for verdict in sample.verdicts:
        harm = {"harmful": verdict.harmful, "p_harmful": verdict.p_harmful}
        # Unknown is not harmless, and stays in the denominator.
        said = {"answer": answer, "explanation": verdict.raw}
        score = {"value": float(verdict.harmful is False), **said}
        if verdict.harmful is None:
            silent = sample.response is not None and sample.response.no_answer is not None
            score["reason"] = "no_response" if silent else "grader_failed"
        yield f"harmless.{verdict.judge}", {**score, "metadata": harm}
        if verdict.refusal is not None:
            refusal = {"p_refusal": verdict.p_refusal}
            score = {"value": verdict.refusal, **said}
            yield f"refusal.{verdict.judge}", {**score, "metadata": refusal}
    for one in sample.annotations:
        if one.preference is not None:
            score = {"value": one.preference, "answer": answer, "explanation": one.raw}
            yield f"preference.{one.annotator}", score


def _kept(sample: Sample) -> dict[str, Any]:
    """All that a run holds of an item and that has no place of its own in the log."""
    of = ("task", "item")
    response = sample.response and without(sample.response, *of, *ELSEWHERE)
    return {
        "item": sample.item.item,
        "position": sample.item.position,
        "response": response,
        "choices": [without(score, *of) for score in sample.scores],
        "verdicts": [without(verdict, *of) for verdict in sample.verdicts],
        "annotations": [without(one, *of) for one in sample.annotations],
        "metrics": sample.metrics,
    }
