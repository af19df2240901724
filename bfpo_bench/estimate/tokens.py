"""How much a run asks: requests and tokens of each task and of the judge, found from a sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from bfpo_bench.engines.tokenization import (
    GUESS,
    check_known,
    encode_many,
    encode_pairs,
    encode_prompts,
    load_tokenizer,
)
from bfpo_bench.judges import ClassifierCard, Exchange, RubricCard
from bfpo_bench.judges.chosen import ChosenJudge
from bfpo_bench.judges.protocol import fill
from bfpo_bench.tasks.requests import Asked, Task

T = TypeVar("T")

SAMPLE = 100
"""Items per task whose tokens are counted exactly; the rest is estimated from their mean."""


@dataclass(frozen=True)
class Workload:
    """What is asked of a model.

    Attributes:
        stage: ``"score"``, ``"respond"`` or ``"judge"``.
        requests: choices, prompts or verdicts.
        read: tokens that go in.
        scored: of these, tokens whose log-probability is wanted.
        generated: tokens that come out, at most.
        longest: tokens of the longest request of the sample, what it generates included.
    """

    stage: str
    requests: int
    read: int
    scored: int = 0
    generated: int = 0
    longest: int = 0


def evenly(texts: Sequence[T], count: int) -> Iterator[T]:
    """At most `count` elements (or a few more) at equal distances; rendered one by one."""
    for index in range(0, len(texts), max(1, len(texts) // count)):
        yield texts[index]


def task_work(task: Asked, tokenizer: Any, known: int | None = None) -> Workload:
    """Tokens of a task, scaled up from a sample.

    Args:
        tokenizer: None guesses from the number of characters.
        known: tokens that the model has an embedding of; None where nobody can tell yet.

    Raises:
        BadInput: the sample has tokens beyond those.
    """
    if task.scores:
        pairs = [(r.context, r.continuation) for r in evenly(task.scores, SAMPLE)]
        if tokenizer is None:
            sizes = [(len(a) / GUESS, len(b) / GUESS) for a, b in pairs]
        else:
            encoded = encode_pairs(tokenizer, pairs)
            _check(known, chain.from_iterable(encoded))
            sizes = [(len(a), len(b)) for a, b in encoded]
        scale = len(task.scores) / len(sizes)
        return Workload(
            "score",
            len(task.scores),
            read=round(scale * sum(a + b for a, b in sizes)),
            scored=round(scale * sum(b for _, b in sizes)),
            longest=round(max(a + b for a, b in sizes)),
        )
    prompts = list(evenly(task.prompts, SAMPLE))
    counts = [len(prompt.prompt) / GUESS for prompt in prompts]
    if tokenizer is not None:
        rows = encode_prompts(tokenizer, prompts)
        _check(known, rows)
        counts = [float(len(ids)) for ids in rows]
    new = task.prompts[0].most_tokens
    return Workload(
        "respond",
        len(task.prompts),
        read=round(len(task.prompts) * sum(counts) / len(counts)),
        generated=len(task.prompts) * new,
        longest=round(max(counts)) + new,
    )


def _check(known: int | None, rows: Iterable[Sequence[int]]) -> None:
    if known is not None:
        check_known(rows, known)


def judge_work(
    judge: ChosenJudge, tasks: Sequence[Task], known: int | None = None
) -> Workload | None:
    """Tokens that a judge reads (and, on a server, writes) for the responses of these tasks.

    A response is taken to be as long as it may get: the tokens of template and prompt are counted
    in a sample, those of the response are its limit.

    Returns:
        None for a judge whose tokens nobody here can count (rules, JudgeZoo).

    Raises:
        BadInput: the judge's tokenizer does not fit its card, or makes tokens that its model does
            not have (`known`, as in :func:`task_work`).
    """
    card = judge.card
    if isinstance(card, ClassifierCard):
        return _classifier_work(judge, card, tasks, known)
    if not isinstance(card, RubricCard):
        return None
    requests = read = 0
    for task in tasks:
        shown = [
            len(card.system) + len(fill(card.user, {"prompt": question, "response": ""}))
            for question in evenly(task.questions, SAMPLE)
        ]
        new = task.prompts[0].most_tokens
        requests += len(task.prompts)
        read += round(len(task.prompts) * (sum(shown) / len(shown) / GUESS + new))
    return Workload("judge", requests, read, generated=requests * card.max_tokens)


@dataclass(frozen=True)
class _NoModel:
    """Enough of an engine to have a judge write its questions."""

    tokenizer: Any
    max_length: int

    def label_logprobs(
        self, prompts: Sequence[str], token_ids: Sequence[int], add_special_tokens: bool = True
    ) -> list[list[float]]:
        raise NotImplementedError("no model is loaded")


def _classifier_work(
    judge: ChosenJudge, card: ClassifierCard, tasks: Sequence[Task], known: int | None
) -> Workload:
    from bfpo_bench.judges.classifier import ClassifierJudge

    assert judge.model is not None
    tokenizer = load_tokenizer(judge.model.folder, judge.options.loading.trust_remote_code)
    window = judge.model.config.get("max_position_embeddings") or 1 << 20
    writer = ClassifierJudge(card, _NoModel(tokenizer, int(window)))
    asked = len(card.answers.openings)
    requests = read = longest = 0
    for task in tasks:
        exchanges = [Exchange(question, "") for question in evenly(task.questions, SAMPLE)]
        texts = [text or "" for text, _ in writer.render(exchanges)]
        rows = encode_many(tokenizer, texts, card.add_special_tokens)
        _check(known, rows)
        counts = [float(len(ids)) for ids in rows]
        response = min(task.prompts[0].sampling.max_new_tokens, card.max_response_tokens)
        count = len(task.prompts) * asked
        requests += count
        read += round(count * (sum(counts) / len(counts) + response))
        longest = max(longest, round(max(counts)) + response)
    return Workload("judge", requests, read, scored=requests, longest=longest)
