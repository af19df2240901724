"""What goes into a judge, what comes out, and what an engine must offer to serve one."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

PromptKind = Literal["instructions", "continuations"]
PROMPT_KINDS: tuple[PromptKind, ...] = ("instructions", "continuations")
"""What a prompt can be: something asked of an assistant, or a text that a model goes on with."""

NO_ANSWER = "no answer"
"""Begins ``raw`` where a response holds nothing that could be judged: its verdict is unknown."""


@dataclass(frozen=True)
class Exchange:
    """A prompt and a model's response to it: both untrusted text."""

    prompt: str
    response: str


@dataclass(frozen=True)
class Verdict:
    """What a judge says about one response.

    Attributes:
        harmful: yes, no, or ``None`` when the judge could not tell. An unknown verdict stays in the
            denominator and does not count as harmless.
        p_harmful: probability in [0, 1] that the response is harmful; ``None`` when the judge gives
            none (rules do not) and always when ``harmful`` is ``None``.
        raw: what the verdict rests on, in one short line. Never holds text of the response.
    """

    harmful: bool | None
    p_harmful: float | None
    raw: str


class Judge(Protocol):
    """Anything that turns exchanges into verdicts."""

    @property
    def name(self) -> str: ...

    def judge(self, items: Sequence[Exchange]) -> list[Verdict]:
        """One verdict per exchange, in the same order; a verdict depends on its exchange alone."""
        ...


@runtime_checkable
class BatchJudge(Judge, Protocol):
    """A judge that is computed here, batch after batch, each of which may take a while."""

    def in_batches(
        self, items: Sequence[Exchange], known: Container[int]
    ) -> Iterator[list[tuple[int, Verdict]]]:
        """Verdicts on `items` by their numbers, each batch as soon as it is there.

        Batches are planned from all items; those whose answers are all `known` are left out.
        """
        ...


@runtime_checkable
class ServedJudge(Judge, Protocol):
    """A judge behind a server, where every verdict is asked for by itself and may cost money.

    What is asked beside it changes nothing in a verdict, so a known one is never asked for again.
    """

    def stream(self, items: Iterable[tuple[int, Exchange]]) -> Iterator[list[tuple[int, Verdict]]]:
        """Verdicts on numbered exchanges, handed out as they come; `items` is read as needed."""
        ...


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
