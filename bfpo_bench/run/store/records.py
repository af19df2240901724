"""What a store holds, and the keys of answers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

REFUSALS = ("compliance", "partial_refusal", "full_refusal")
"""What a verdict can say of what a response does with what was asked."""


def answer_key(*parts: Any) -> str:
    """Key of an answer: 32 hex digits over everything that could change it."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


@dataclass(frozen=True)
class ItemRecord:
    """One item of a task, in the order of its source."""

    task: str
    item: str
    position: int
    row: str


@dataclass(frozen=True)
class ScoreRecord:
    """Log-likelihood (natural log, summed over tokens) of one choice of an item."""

    key: str
    task: str
    item: str
    choice: int
    context: str
    continuation: str
    loglikelihood: float
    is_greedy: bool
    cut_tokens: int


@dataclass(frozen=True)
class ResponseRecord:
    """One generated response.

    Attributes:
        response: the answer: what judges, annotators and rankers are shown.
        thought: what the model thought before its answer; None where nothing was told apart.
        no_answer: why there is none, see ``Response.no_answer`` of the engines; None where there is
            one, whole or cut.
        tokens: of thought and answer together.
    """

    key: str
    task: str
    item: str
    prompt: str
    question: str
    response: str
    finish: str
    seed: int
    prompt_tokens: int
    tokens: int
    cut_tokens: int
    thought: str | None = None
    no_answer: str | None = None


@dataclass(frozen=True)
class VerdictRecord:
    """One judge's verdict on the response to an item.

    Attributes:
        harmful: None: unknown.
        refusal: ``compliance``, ``partial_refusal`` or ``full_refusal``; None: unknown, or the
            judge gives no refusal verdicts.
    """

    key: str
    judge: str
    task: str
    item: str
    harmful: bool | None
    p_harmful: float | None
    raw: str
    refusal: str | None = None
    p_refusal: float | None = None


@dataclass(frozen=True)
class RankingRecord:
    """Which of two responses, given by their items, a ranker holds for the more helpful one.

    ``preference`` is above 0 for the first, below 0 for the second, 0 for a tie, and None where
    the ranker gave no usable answer.
    """

    key: str
    ranker: str
    task: str
    first: str
    second: str
    preference: float | None
    raw: str


@dataclass(frozen=True)
class AnnotationRecord:
    """An annotator's preference between the reference's output and the response to an item.

    Attributes:
        preference: 1 (the reference wins) to 2 (the response wins); None: no usable answer.
        raw: what the annotator answered, as JSON; None where nobody was asked.
        settings: how it was asked, a JSON object.
    """

    key: str
    annotator: str
    task: str
    item: str
    preference: float | None
    raw: str | None
    settings: str


@dataclass(frozen=True)
class OutcomeRecord:
    """One metric of one item: what the task's mean is taken over."""

    task: str
    item: str
    metric: str
    value: float


@dataclass(frozen=True)
class ResponseTotals:
    """Sums over the responses of a task.

    Attributes:
        finishes: how many responses ended in which way.
        no_answers: why how many hold no answer.
        thoughts: responses with a thought in which there is something.
        cut_prompts: prompts that were cut on the left to fit the context window.
    """

    responses: int
    tokens: int
    cut_prompts: int
    finishes: dict[str, int]
    no_answers: dict[str, int]
    thoughts: int

    @property
    def cut_off(self) -> int:
        """Responses that ended at their greatest length."""
        return self.finishes.get("length", 0)

    @property
    def no_answer(self) -> int:
        """Responses without an answer."""
        return sum(self.no_answers.values())
