"""What an engine is asked and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bfpo_bench.common.batches import in_order
from bfpo_bench.common.sampling import Sampling


@dataclass(frozen=True)
class ScoreRequest:
    """The log-likelihood of `continuation` after `context` is wanted.

    `group` numbers the question a request belongs to: requests of one group are computed in one
    batch, so that what they share is at hand. `rolling`: the continuation is a text of any length,
    read in lm-eval's disjoint windows, with an empty context.
    """

    context: str
    continuation: str
    group: int
    rolling: bool = False


@dataclass(frozen=True)
class Score:
    """Answer to a :class:`ScoreRequest`.

    Attributes:
        loglikelihood: natural log-probability of the continuation, summed over its tokens.
        is_greedy: whether greedy decoding would have produced it.
        cut_tokens: context tokens dropped on the left to fit the context window.
    """

    loglikelihood: float
    is_greedy: bool
    cut_tokens: int = 0


@dataclass(frozen=True)
class GenerateRequest:
    """A response to `prompt` is wanted; `seed` alone decides how chance falls for it.

    `thought_tokens` is the room of a thought beyond that of the answer; without any, both share
    the sampling's ``max_new_tokens``.

    `messages`, as (role, content), are what `prompt` was written from, for a server that applies
    the chat template itself; engines that hold the model go by `prompt`. `special_tokens`: whether
    the tokenizer may put its own (BOS) around it. A chat template has written all that belongs to a
    conversation, so it may not there, as in transformers' `apply_chat_template`.
    """

    prompt: str
    sampling: Sampling
    seed: int
    messages: tuple[tuple[str, str], ...] | None = None
    thought_tokens: int = 0
    special_tokens: bool = True

    @property
    def most_tokens(self) -> int:
        """Tokens of thought and answer together, at most."""
        return self.sampling.max_new_tokens + self.thought_tokens


@dataclass(frozen=True)
class Response:
    """Answer to a :class:`GenerateRequest`.

    Attributes:
        text: the answer without special tokens and without the stop string.
        tokens: generated tokens, those of a thought too, the end-of-sequence token not counted.
        prompt_tokens: tokens of the prompt that the model saw.
        cut_tokens: prompt tokens dropped on the left to fit the context window.
        finish: ``"stop"`` (end of sequence or stop string) or ``"length"``.
        thought: what was thought before the answer; None where nothing was told apart.
        no_content: a server said that there is no answer (``null``), not an empty one.
    """

    text: str
    tokens: int
    prompt_tokens: int
    cut_tokens: int
    finish: str
    thought: str | None = None
    no_content: bool = False

    @property
    def no_answer(self) -> str | None:
        """Why there is no answer; None where there is one, even one that was cut.

        ``"cut thought"`` or ``"thought alone"``, ``"null"`` (a server said so), or ``"empty"``.
        What a provider's content filter stops is a refusal by the system that is measured: an
        answer.
        """
        if self.text.strip() or self.finish == "content_filter":
            return None
        if self.thought:
            return "cut thought" if self.finish == "length" else "thought alone"
        return "null" if self.no_content else "empty"


class NonFiniteLogits(Exception):
    """The model produced NaN or infinite logits.

    Attributes:
        index: which of the requests it was.
    """

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index

    def __str__(self) -> str:
        return f"non-finite logits at request {self.index}"


@dataclass(frozen=True)
class EngineOptions:
    """How a model is loaded. Nothing in here changes what is asked of it.

    Attributes:
        model: folder of a checkpoint, already resolved.
        tokenizer: folder of another tokenizer, or None for the model's own.
        adapter: folder of an adapter to be merged into the weights, or None.
        dtype: ``"auto"`` (the checkpoint's), ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, …; vLLM chooses its own.
        batch_size: sequences in a batch; None finds it from the memory at hand.
        max_length: context window in tokens; None takes the model's.
        tensor_parallel_size: GPUs that one copy of the model is split over (vLLM only).
        data_parallel_size: copies of the model that share the work.
        ray: address of the Ray cluster that they run on, or ``"auto"``; None for this machine.
        gpu_memory_utilization: share of GPU memory that vLLM may take.
        trust_remote_code: run code that comes with the checkpoint.
        scratch: folder for what an engine needs to go on with a batch that was stopped (hf); None
            keeps nothing.
    """

    model: str
    tokenizer: str | None = None
    adapter: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    batch_size: int | None = None
    max_length: int | None = None
    tensor_parallel_size: int = 1
    data_parallel_size: int = 1
    ray: str | None = None
    gpu_memory_utilization: float = 0.9
    trust_remote_code: bool = False
    scratch: str | None = None

    @property
    def copied(self) -> bool:
        """Whether it is loaded by Ray, into processes of their own."""
        return self.data_parallel_size > 1 or self.ray is not None


Answered = Collection[int]
"""Indices of requests whose answers are known already. An engine plans its batches from *all*
requests and leaves out only batches that are known whole: what is computed together, and with it
every floating-point rounding, is then the same with and without an interruption."""


class Engine(ABC):
    """A loaded model."""

    backend: str
    tokenizer: Any
    max_length: int

    @abstractmethod
    def score(
        self, requests: Sequence[ScoreRequest], answered: Answered = ()
    ) -> Iterator[list[tuple[int, Score]]]:
        """Yields batches of (index into `requests`, score), in an order of the engine's choice."""

    @abstractmethod
    def respond(
        self, requests: Sequence[GenerateRequest], answered: Answered = ()
    ) -> Generator[list[tuple[int, Response]], None, None]:
        """Yields (index into `requests`, response) of the unanswered, soon after each has ended."""

    @abstractmethod
    def label_batches(
        self,
        prompts: Sequence[str],
        token_ids: Sequence[int],
        add_special_tokens: bool = True,
        answered: Answered = (),
    ) -> Iterator[list[tuple[int, list[float]]]]:
        """Yields (index into `prompts`, log-probabilities of `token_ids` right after it)."""

    def label_logprobs(
        self, prompts: Sequence[str], token_ids: Sequence[int], add_special_tokens: bool = True
    ) -> list[list[float]]:
        """The same of all prompts, ``[prompts][token_ids]``."""
        batches = self.label_batches(prompts, token_ids, add_special_tokens)
        return in_order(batches, len(prompts))

    @abstractmethod
    def close(self) -> None:
        """Frees the model's memory; the engine cannot be used afterwards."""
