"""The `openai` engine: a model behind any server that speaks the OpenAI protocol."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bfpo_bench.client import Caller, Refused, Server, ask_all
from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.openai import replies
from bfpo_bench.engines.openai import requests as asking
from bfpo_bench.engines.openai.dialect import Dialect, look_up
from bfpo_bench.engines.openai.probe import probe_labels, probe_response, probe_scores
from bfpo_bench.engines.protocol import (
    Done,
    GenerateRequest,
    Labels,
    NonFiniteLogits,
    Response,
    Score,
    ScoreRequest,
)
from bfpo_bench.engines.thinking import AUTO, Thinking
from bfpo_bench.engines.thoughts import Decoder, told_apart
from bfpo_bench.engines.tokenization import (
    encode,
    encode_pairs,
    encode_prompts,
    fit_pair,
    fit_prompt,
    load_tokenizer,
)

CHUNK = 256
"""Requests tokenised at a time: enough to be fast, few enough to stay flat in memory."""

UNKNOWN_LENGTH = 1 << 30
"""Context window where neither the server nor the user says: nothing is cut."""


@dataclass(frozen=True)
class OpenAIOptions:
    """How a served model is reached.

    Attributes:
        server: where, with which key and how patiently.
        model: name under which the server knows the model.
        tokenizer: folder of the served model's tokenizer; None: prompts are sent as text.
        max_length: context window in tokens; None asks the server.
        concurrency: requests under way at a time.
        trust_remote_code: run code that comes with the tokenizer.
        thinking: whether the model is to think before it answers a chat.
    """

    server: Server
    model: str
    tokenizer: Path | None = None
    max_length: int | None = None
    concurrency: int = 16
    trust_remote_code: bool = False
    thinking: Thinking = AUTO

    def identity(self) -> dict[str, str]:
        """What tells this served model from others; holds no key."""
        return {"base_url": self.server.base_url, "model": self.model}


@dataclass(frozen=True)
class _Prompt:
    """A request for a response, ready to be sent."""

    request: GenerateRequest
    content: str | list[int] | list[dict[str, str]]
    cut: int


class OpenAIEngine(Labels):
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
        self._bos = True

    def check(self, scores: Sequence[ScoreRequest], prompts: Sequence[GenerateRequest]) -> None:
        """Finds out by tiny requests whether the server can answer requests like these.

        Raises:
            BadInput: it cannot; says what was seen.
            RunFailed: the served model is broken.
        """
        try:
            if scores:
                self._settle_scores(scores)
            for prompt in prompts:
                self._settle_respond(prompt)
        except NonFiniteLogits:
            raise asking.broken_model(self.options.model, self._server) from None

    # ------------------------------------------------------------------ scoring

    def score(
        self, requests: Sequence[ScoreRequest], done: Done = ()
    ) -> Iterator[list[tuple[int, Score]]]:
        """See :class:`bfpo_bench.engines.Engine`."""
        known = set(done)
        first = next((i for i in range(len(requests)) if i not in known), None)
        if first is None:
            return
        try:
            dialect = self._settle_scores(requests)
        except NonFiniteLogits:
            yield [(first, asking.NO_SCORE)]
            return
        fixed = {"model": self.options.model, "echo": True, "logprobs": 1, "temperature": 0}
        fixed |= {dialect.length: 1, **dialect.extras}
        # The server generates one token after the prompt, so one less fits than its window holds.
        window = self.max_length - 2

        def by_ids() -> Iterator[tuple[int, tuple[list[int], list[int], int]]]:
            missing = [i for i in range(len(requests)) if i not in known]
            for begin in range(0, len(missing), CHUNK):
                chunk = missing[begin : begin + CHUNK]
                texts = [(requests[i].context, requests[i].continuation) for i in chunk]
                for index, pair in zip(chunk, encode_pairs(self.tokenizer, texts), strict=True):
                    yield index, fit_pair(*pair, window)

        def ask_ids(caller: Caller, pair: tuple[list[int], list[int], int]) -> Score:
            context, continuation, cut = pair

            def read(reply: Any) -> Score:
                return replies.score_by_ids(replies.read_echo(reply), context, continuation)

            body = {**fixed, "prompt": context + continuation}
            return replace(asking.post(caller, "completions", body, read), cut_tokens=cut)

        def by_text() -> Iterator[tuple[int, tuple[str, str]]]:
            for index, request in enumerate(requests):
                if index not in known:
                    yield index, asking.move_blanks(request.context, request.continuation)

        def ask_text(caller: Caller, pair: tuple[str, str]) -> Score:
            return asking.score_text(caller, fixed, *pair)

        limit = self.options.concurrency
        if self.tokenizer is not None:
            yield from ask_all(self._server, by_ids(), asking.or_no_score(ask_ids), limit)
        else:
            yield from ask_all(self._server, by_text(), asking.or_no_score(ask_text), limit)

    def _settle_scores(self, requests: Sequence[ScoreRequest]) -> Dialect:
        if "score" not in self._settled:
            self._settled["score"], self._bos = probe_scores(
                self._server, self.options.model, self.tokenizer, self._served.names
            )
        if not self._bos and any(not request.context.strip() for request in requests):
            raise BadInput(
                f"{self._server.base_url} puts no token before a text, so its first token has no "
                "log-probability; give the served model's tokenizer with --tokenizer."
            )
        return self._settled["score"]

    def label_batches(
        self,
        prompts: Sequence[str],
        token_ids: Sequence[int],
        add_special_tokens: bool = True,
        done: Done = (),
    ) -> Iterator[list[tuple[int, list[float]]]]:
        """See :class:`bfpo_bench.engines.Engine`.

        Exact on servers that take vLLM's ``logprob_token_ids``; elsewhere a token that is not
        among the 20 most probable ones has ``-inf``.
        """
        known = set(done)
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

            return asking.post(caller, "completions", {**fixed, "prompt": ids}, read)

        yield from ask_all(self._server, tasks(), work, self.options.concurrency)

    def _settle_labels(self, labels: tuple[int, ...]) -> dict[str, Any]:
        if labels not in self._labels:
            try:
                self._labels[labels] = probe_labels(
                    self._server, self.options.model, self.tokenizer, labels, self._served.names
                )
            except NonFiniteLogits:
                raise asking.broken_model(self.options.model, self._server) from None
        return self._labels[labels]

    # --------------------------------------------------------------- generation

    def respond(
        self, requests: Sequence[GenerateRequest], done: Done = ()
    ) -> Generator[list[tuple[int, Response]], None, None]:
        """See :class:`bfpo_bench.engines.Engine`.

        A request with messages goes to ``/chat/completions``, any other to ``/completions``. A
        prompt that a provider's content filter refuses is answered by an empty response whose
        `finish` is ``"content_filter"``.
        """
        known = set(done)
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
            return _Prompt(request, asking.message_objects(request.messages), 0)
        if self.tokenizer is None:
            return _Prompt(request, request.prompt, 0)
        [ids] = encode_prompts(self.tokenizer, [request])
        return _Prompt(request, *fit_prompt(ids, request.most_tokens, self.max_length))

    def _respond_one(self, caller: Caller, prompt: _Prompt) -> Response:
        request = prompt.request
        dialect = self._settled[asking.kind(request)]
        body = {
            "model": self.options.model,
            **asking.sampling_fields(request),
            **dialect.extras,
            dialect.length: request.most_tokens,
        }
        if "seed" in body:
            body["seed"] = asking.seed(request)
        chat = request.messages is not None
        body["messages" if chat else "prompt"] = prompt.content
        read = replies.read_chat if chat else replies.read_completion
        try:
            answer = asking.post(caller, asking.path_of(request), body, read)
        except Refused as error:
            if not asking.filtered(error):
                raise
            return Response("", 0, 0, prompt.cut, "content_filter")
        answer = replace(answer, cut_tokens=prompt.cut)
        return told_apart(answer, request, self._decoder)

    def _settle_respond(self, request: GenerateRequest) -> None:
        kind = asking.kind(request)
        if kind not in self._settled:
            marked = self._decoder is not None and self._decoder.special
            self._settled[kind] = probe_response(
                *(self._server, self.options.model, request, self._served.names),
                *(self.options.thinking, marked),
            )

    def close(self) -> None:
        """See :class:`bfpo_bench.engines.Engine`. The server and its model stay as they are."""
