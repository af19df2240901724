"""The `openai` engine: a model behind any server that speaks the OpenAI protocol."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from bfpo_bench.client import Caller, GaveUp, Refused, Server, ask_all
from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.engines.openai import replies
from bfpo_bench.engines.openai.dialect import Dialect, look_up, not_numbers
from bfpo_bench.engines.openai.probe import (
    path_of,
    probe_labels,
    probe_response,
    probe_scores,
    sampling_fields,
)
from bfpo_bench.engines.protocol import (
    Answered,
    Engine,
    GenerateRequest,
    NonFiniteLogits,
    Response,
    Score,
    ScoreRequest,
)
from bfpo_bench.engines.thinking import AUTO, Thinking
from bfpo_bench.engines.thoughts import Decoder, told_apart
from bfpo_bench.engines.tokenization import (
    Part,
    encode,
    encode_prompts,
    fit_prompt,
    joined_scores,
    load_tokenizer,
    score_parts,
)

T = TypeVar("T")

UNKNOWN_LENGTH = 1 << 30
"""Context window where neither the server nor the user says: nothing is cut."""

SEED_BITS = 31
"""Servers keep seeds in integers of various sizes; this fits all of them."""

TOO_LONG = re.compile(
    r"context (length|window|size)|max_model_len|too (long|many tokens)|maximum .*\btokens", re.I
)

NO_SCORE = Score(math.nan, False)
"""Where the model's logits are no numbers: whoever asked names the item."""

FILTER_CODES = ("content_filter", "content_policy_violation")


@dataclass(frozen=True)
class OpenAIOptions:
    """How a served model is reached.

    Attributes:
        server: where, with which key and how patiently.
        model: name under which the server knows the model.
        tokenizer: folder of the served model's tokenizer; None: prompts are sent as text
            and nothing can be scored.
        max_length: context window in tokens; None asks the server.
        concurrency: requests under way at a time.
        trust_remote_code: run code that comes with the tokenizer.
        thinking: whether the model is to think before it answers a chat.
        end: ends a server that was started for this engine alone.
    """

    server: Server
    model: str
    tokenizer: Path | None = None
    max_length: int | None = None
    concurrency: int = 16
    trust_remote_code: bool = False
    thinking: Thinking = AUTO
    end: Callable[[], None] | None = None

    def identity(self) -> dict[str, str]:
        """What tells this served model from others; holds no key."""
        return {"base_url": self.server.base_url, "model": self.model}


@dataclass(frozen=True)
class _Prompt:
    """A request for a response, ready to be sent."""

    request: GenerateRequest
    content: str | list[int] | list[dict[str, str]]
    cut: int


class OpenAIEngine(Engine):
    """A model behind a server. Sampling follows the seed that each request brings, if the server's
    does; the order of answers is that in which they come.

    Raises:
        BadInput: no server answers, the key is refused, or the tokenizer cannot be read.
    """

    backend = "openai"

    def __init__(self, options: OpenAIOptions) -> None:
        if options.concurrency < 1:
            raise BadInput(f"--concurrency must be at least 1, not {options.concurrency}.")
        self.options = options
        self._server = options.server
        self._served = look_up(options.server, options.model)
        self.tokenizer: Any = None
        if options.tokenizer is not None:
            self.tokenizer = load_tokenizer(options.tokenizer, options.trust_remote_code)
        self._decoder = None if self.tokenizer is None else Decoder(self.tokenizer)
        self.max_length = options.max_length or self._served.max_length or UNKNOWN_LENGTH
        self._settled: dict[str, Dialect] = {}
        self._labels: dict[tuple[int, ...], dict[str, Any]] = {}

    def check(self, scores: Sequence[ScoreRequest], prompts: Sequence[GenerateRequest]) -> None:
        """Finds out by tiny requests whether the server can answer requests like these.

        Raises:
            BadInput: it cannot; says what was seen.
            RunFailed: the served model is broken.
        """
        try:
            if scores:
                self._settle_scores()
            for prompt in prompts:
                self._settle_respond(prompt)
        except NonFiniteLogits:
            raise self._broken_model() from None

    # ------------------------------------------------------------------ scoring

    def score(
        self, requests: Sequence[ScoreRequest], answered: Answered = ()
    ) -> Iterator[list[tuple[int, Score]]]:
        """See :class:`bfpo_bench.engines.Engine`."""
        known = set(answered)
        first = next((i for i in range(len(requests)) if i not in known), None)
        if first is None:
            return
        try:
            dialect = self._settle_scores()
        except NonFiniteLogits:
            yield [(first, NO_SCORE)]
            return
        fixed = {"model": self.options.model, "echo": True, "logprobs": 1, "temperature": 0}
        fixed |= {dialect.length: 1, **dialect.extras}
        # The server generates one token after the prompt, so one less fits than its window holds.
        window = self.max_length - 2

        missing = [i for i in range(len(requests)) if i not in known]
        parts, places = score_parts(self.tokenizer, [requests[i] for i in missing], window)

        def work(caller: Caller, part: Part) -> Score:
            context, continuation, cut = part

            def read(reply: Any) -> Score:
                return replies.score_by_ids(replies.read_echo(reply), context, continuation)

            try:
                found = _post(
                    caller, "completions", {**fixed, "prompt": context + continuation}, read
                )
            except (Refused, GaveUp) as error:
                if not not_numbers(error):
                    raise
                found = NO_SCORE
            return replace(found, cut_tokens=cut)

        scores = ask_all(self._server, enumerate(parts), work, self.options.concurrency)
        yield from joined_scores(scores, [missing[place] for place in places])

    def _settle_scores(self) -> Dialect:
        if "score" not in self._settled:
            self._settled["score"] = probe_scores(
                self._server, self.options.model, self.tokenizer, self._served.names
            )
        return self._settled["score"]

    def label_batches(
        self,
        prompts: Sequence[str],
        token_ids: Sequence[int],
        add_special_tokens: bool = True,
        answered: Answered = (),
    ) -> Iterator[list[tuple[int, list[float]]]]:
        """See :class:`bfpo_bench.engines.Engine`.

        Exact on servers that take vLLM's ``logprob_token_ids``; elsewhere a token that is not
        among the 20 most probable ones has ``-inf``.
        """
        known = set(answered)
        left = [index for index in range(len(prompts)) if index not in known]
        if not left:
            return
        labels = tuple(token_ids)
        fixed = self._settle_labels(labels)

        def tasks() -> Iterator[tuple[int, list[int]]]:
            for index in left:
                ids = encode(self.tokenizer, prompts[index], add_special_tokens)
                if len(ids) >= self.max_length:
                    raise BadInput(
                        f"a prompt of {len(ids)} tokens and its answer do not fit the context "
                        f"window of {self.max_length}."
                    )
                yield index, ids

        def work(caller: Caller, ids: list[int]) -> list[float]:
            def read(reply: Any) -> list[float]:
                return replies.read_next(reply, labels)[0]

            return _post(caller, "completions", {**fixed, "prompt": ids}, read)

        yield from ask_all(self._server, tasks(), work, self.options.concurrency)

    def _settle_labels(self, labels: tuple[int, ...]) -> dict[str, Any]:
        if labels not in self._labels:
            try:
                self._labels[labels] = probe_labels(
                    self._server, self.options.model, self.tokenizer, labels, self._served.names
                )
            except NonFiniteLogits:
                raise self._broken_model() from None
        return self._labels[labels]

    # --------------------------------------------------------------- generation

    def respond(
        self, requests: Sequence[GenerateRequest], answered: Answered = ()
    ) -> Generator[list[tuple[int, Response]], None, None]:
        """See :class:`bfpo_bench.engines.Engine`.

        A request with messages goes to ``/chat/completions``, any other to ``/completions``. A
        prompt that a provider's content filter refuses is answered by an empty response whose
        `finish` is ``"content_filter"``.
        """
        known = set(answered)
        for index, request in enumerate(requests):
            if index not in known:
                try:
                    self._settle_respond(request)
                except NonFiniteLogits:
                    raise NonFiniteLogits(index) from None

        def tasks() -> Iterator[tuple[int, _Prompt]]:
            for index, request in enumerate(requests):
                if index not in known:
                    yield index, self._prepare(request)

        yield from ask_all(self._server, tasks(), self._respond_one, self.options.concurrency)

    def _prepare(self, request: GenerateRequest) -> _Prompt:
        if request.messages is not None:
            return _Prompt(
                request,
                [{"role": role, "content": content} for role, content in request.messages],
                0,
            )
        if self.tokenizer is None:
            return _Prompt(request, request.prompt, 0)
        [ids] = encode_prompts(self.tokenizer, [request])
        return _Prompt(request, *fit_prompt(ids, request.most_tokens, self.max_length))

    def _respond_one(self, caller: Caller, prompt: _Prompt) -> Response:
        request = prompt.request
        dialect = self._settled[path_of(request)]
        body = {
            "model": self.options.model,
            **sampling_fields(request),
            **dialect.extras,
            dialect.length: request.most_tokens,
        }
        if "seed" in body:
            body["seed"] = request.seed % (1 << SEED_BITS)
        chat = request.messages is not None
        body["messages" if chat else "prompt"] = prompt.content
        read = replies.read_chat if chat else replies.read_completion
        try:
            answer = _post(caller, path_of(request), body, read)
        except Refused as error:
            if not _filtered(error):
                raise
            return Response("", 0, 0, prompt.cut, "content_filter")
        answer = replace(answer, cut_tokens=prompt.cut)
        return told_apart(answer, request, self._decoder)

    def _settle_respond(self, request: GenerateRequest) -> None:
        kind = path_of(request)
        if kind not in self._settled:
            marked = self._decoder is not None and self._decoder.special
            self._settled[kind] = probe_response(
                *(self._server, self.options.model, request, self._served.names),
                *(self.options.thinking, marked),
            )

    def _broken_model(self) -> RunFailed:
        return RunFailed(
            f"the log-probabilities of {self.options.model!r} at {self._server.base_url} are NaN "
            "or infinite; its weights are damaged or its numbers overflow (serve it in float32 or "
            "bfloat16)."
        )

    def close(self) -> None:
        """See :class:`bfpo_bench.engines.Engine`. A server of somebody else's stays as it is."""
        if self.options.end is not None:
            self.options.end()


def _post(caller: Caller, path: str, body: dict[str, Any], read: Callable[[Any], T]) -> T:
    """Asks; says what helps where the server finds the prompt too long."""
    try:
        return caller.post(path, body, read)
    except Refused as error:
        if error.status not in (400, 413, 422) or not TOO_LONG.search(error.message):
            raise
        raise BadInput(
            f"a prompt is too long for {caller.server.base_url} ({error.message}); with the served "
            "model's --tokenizer (and --max-length, if the server does not tell) prompts that are "
            "no chats are cut on the left."
        ) from None


def _filtered(error: Refused) -> bool:
    """Whether a provider's content filter, not the server, refused the prompt."""
    if error.code in FILTER_CODES:
        return True
    # OpenAI's reasoning models: "Invalid prompt: your prompt was flagged as …".
    return error.code == "invalid_prompt" and "flagged" in error.message
