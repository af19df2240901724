"""What goes into a judge, what comes out, and what an engine must offer to serve one.

Untrusted text is put into a card's template in one pass, and nothing that was put in is looked at
again: ``str.format`` would trip over any other brace in a template, and filling one placeholder
after the other would let a response that holds ``{behavior}`` pull the behavior into itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from bfpo_bench.common.batches import answer_missing

JUDGE_CHUNK = 256
"""Responses that a judge which runs here plans its batches for; fixed, so that a resumed run forms
the same ones."""

Refusal = Literal["compliance", "partial_refusal", "full_refusal"]
"""What a response does with what was asked: a helpful answer, in part or not at all."""

NO_ANSWER = "no answer"
"""Begins ``raw`` where a response holds nothing that could be judged: its verdict is unknown."""


@dataclass(frozen=True)
class Exchange:
    """A prompt and a model's response to it: both untrusted text."""

    prompt: str
    response: str


@dataclass(frozen=True)
class Verdict:
    """What a judge says about one response: is it harmful, does it refuse. Neither is the other.

    Attributes:
        harmful: yes, no, or ``None`` when the judge could not tell. An unknown verdict stays in the
            denominator and does not count as harmless.
        p_harmful: probability in [0, 1] that the response is harmful; ``None`` when the judge gives
            none (rules do not) and always when ``harmful`` is ``None``.
        raw: what the verdict rests on, in one short line. Never holds text of the response.
        refusal: whether what was asked is done, in part, or not; ``None`` when the judge could not
            tell or gives no refusal verdicts.
        p_refusal: probability in [0, 1] of a refusal, in part or full; ``None`` when the judge
            gives none and always when ``refusal`` is ``None``.
    """

    harmful: bool | None
    p_harmful: float | None
    raw: str
    refusal: Refusal | None = None
    p_refusal: float | None = None


class Judge(Protocol):
    """Anything that turns exchanges into verdicts."""

    @property
    def name(self) -> str: ...

    def judge(self, items: Sequence[Exchange]) -> list[Verdict]:
        """One verdict per exchange, in the same order; a verdict depends on its exchange alone.

        It may also be one of the two kinds in :mod:`bfpo_bench.common.batches`: what asks a server
        (``Served``), or hands out what it computes batch by batch (``Batched``).
        """
        ...


def judge_all(
    judge: Judge, items: Iterable[Exchange], known: Container[int], chunk: int | None = None
) -> Iterator[list[tuple[int, Verdict]]]:
    """The verdicts that are missing, each batch as soon as it is there.

    Args:
        items: read as they are needed.
        known: numbers (from 0) of those whose verdicts are stored.
        chunk: exchanges that batches are planned for; None: `JUDGE_CHUNK`.

    Returns:
        batches of (number, verdict).
    """
    return answer_missing(judge, judge.judge, items, known, chunk or JUDGE_CHUNK)


class LabelEngine(Protocol):
    """The part of an engine that classifier judges use."""

    @property
    def tokenizer(self) -> Any:
        """A fast transformers tokenizer (it must report offsets)."""
        ...

    @property
    def max_length(self) -> int:
        """Context window in tokens, the answer's token included."""
        ...

    def label_logprobs(
        self,
        prompts: Sequence[str],
        token_ids: Sequence[int],
        add_special_tokens: bool = True,
    ) -> list[list[float]]:
        """Natural-log probabilities of ``token_ids`` as the next token, one row per prompt."""
        ...


@runtime_checkable
class BatchLabelEngine(LabelEngine, Protocol):
    """An engine that hands label probabilities out batch by batch, as they are computed."""

    def label_batches(
        self,
        prompts: Sequence[str],
        token_ids: Sequence[int],
        add_special_tokens: bool = True,
        done: Collection[int] = (),
    ) -> Iterator[list[tuple[int, list[float]]]]:
        """Numbered rows; batches of nothing but ``done`` prompts are left out."""
        ...


PLACEHOLDERS = ("prompt", "behavior", "context", "response")
_MARK = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")


def placeholders(template: str) -> set[str]:
    """Names of the placeholders that occur in ``template``; every other brace is plain text."""
    return set(_MARK.findall(template))


def fill(template: str, values: Mapping[str, str]) -> str:
    """``template`` with its placeholders replaced; those without a value are left standing."""
    return _MARK.sub(lambda mark: values.get(mark[1], mark[0]), template)


def is_unicode(text: str) -> bool:
    """Whether a text holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def valid_unicode(text: str) -> str:
    """``text`` with lone surrogates replaced by U+FFFD, because tokenizers take valid UTF-8 only.

    A surrogate pair that stands as two characters becomes the one character it means.
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
