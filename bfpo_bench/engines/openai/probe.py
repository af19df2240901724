"""What a server can do, found out by tiny requests before anything long is asked of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from bfpo_bench.client import GaveUp, Malformed, Refused, Server
from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.openai.dialect import AS_IDS, NEUTRAL, Dialect, settle
from bfpo_bench.engines.openai.replies import (
    Echo,
    read_chat,
    read_completion,
    read_echo,
    read_next,
)
from bfpo_bench.engines.protocol import GenerateRequest
from bfpo_bench.engines.thinking import AUTO, Thinking
from bfpo_bench.engines.tokenization import encode

log = logging.getLogger(__name__)

LISTED_LABELS = 20
"""Most probable tokens asked for where a server cannot be asked for certain ones (vLLM's limit)."""

SHORT_RESPONSE = 16
"""Tokens of a trial response; some servers take no smaller limit."""

PROBE_TEXT = (
    "The sky over Zürich cost 3,141 € today;\n\tif (x != 0) { return “nothing”; } is it blue"
)
"""Text on which tokenizers differ: accents, digits, blanks, code."""

ONLY_GENERATIVE = (
    "only the generative tasks can run against it (--tasks gen); for the others serve the model "
    "with vLLM, or use --backend hf or vllm."
)


def probe_scores(server: Server, model: str, tokenizer: Any, names: Sequence[str] = ()) -> Dialect:
    """Checks that the server gives the log-probabilities of a prompt.

    Args:
        tokenizer: the served model's.
        names: the models that the server lists.

    Returns:
        how to ask.

    Raises:
        BadInput: it gives none, or the tokenizer is missing or another one than the server's.
        NonFiniteLogits: they are no numbers.
    """
    if tokenizer is None:
        raise BadInput(
            f"scoring with {server.base_url} needs the served model's tokenizer, so that the very "
            "tokens are scored that other backends score; give its folder or hub id with "
            "--tokenizer, or run the generative tasks alone with --tasks gen."
        )
    body = {"model": model, "prompt": PROBE_TEXT, "echo": True, "logprobs": 1, "temperature": 0}
    try:
        reply, dialect = settle(server, "completions", body, AS_IDS, names=names)
    except (Refused, GaveUp) as error:
        gave_up = isinstance(error, GaveUp) and error.status not in (200, 500)
        if gave_up or error.status in (401, 403):
            raise
        seen = error.message if isinstance(error, Refused) else error.reason
        raise _no_logprobs(server, f"HTTP {error.status}, {seen!r}") from None
    echo = _echo(server, reply)
    ids = encode(tokenizer, PROBE_TEXT)
    try:
        reply, _ = settle(server, "completions", {**body, "prompt": ids}, dialect.extras)
    except Refused as error:
        raise BadInput(
            f"{server.base_url} takes no prompt as token ids (HTTP {error.status}: "
            f"{error.message}); {ONLY_GENERATIVE}"
        ) from None
    sent = _echo(server, reply)
    # A server may leave the BOS token out of a text; of ids it has to take what it gets.
    if echo.tokens not in (sent.tokens, sent.tokens[1:]):
        raise BadInput(
            f"the tokenizer given is not that of {model!r} at {server.base_url} (a test sentence "
            f"is {len(ids)} tokens here and {len(echo.tokens)} other ones there); give the served "
            "model's own with --tokenizer."
        )
    return dialect


def _echo(server: Server, reply: Any) -> Echo:
    try:
        echo = read_echo(reply)
    except Malformed as error:
        raise _no_logprobs(server, str(error)) from None
    given = [value for value in echo.logprobs[1:] if value is not None]
    if len(given) < len(echo.logprobs) - 1:
        raise _no_logprobs(server, f"{len(given)} numbers for {len(echo.logprobs)} prompt tokens")
    if not any(given):
        raise _no_logprobs(server, "log-probabilities that are all 0")
    return echo


def _no_logprobs(server: Server, seen: str) -> BadInput:
    return BadInput(
        f"{server.base_url} gives no log-probabilities of a prompt (asked for completions with "
        f"echo and logprobs, got: {seen}); {ONLY_GENERATIVE}"
    )


def probe_labels(
    server: Server, model: str, tokenizer: Any, token_ids: Sequence[int], names: Sequence[str] = ()
) -> dict[str, Any]:
    """Checks that the server gives the log-probabilities of certain tokens.

    Returns:
        the request that asks for them, without its prompt.

    Raises:
        BadInput: it does not, or there is no tokenizer to know the tokens by.
        NonFiniteLogits: they are no numbers.
    """
    if tokenizer is None:
        raise BadInput(
            "a classifier judge on a server needs the served model's tokenizer: its labels are "
            "tokens, and its questions are measured in them; give its folder."
        )
    # Servers that do not know `logprob_token_ids` list the most probable tokens.
    body = {
        "model": model,
        "temperature": 0,
        "logprobs": LISTED_LABELS,
        "logprob_token_ids": list(token_ids),
    }
    probe = {**body, "prompt": encode(tokenizer, PROBE_TEXT)}
    try:
        reply, dialect = settle(server, "completions", probe, AS_IDS, names=names)
        _, exact = read_next(reply, token_ids)
    except (Malformed, Refused) as error:
        if isinstance(error, Refused) and error.status in (401, 403):
            raise
        seen = error.message if isinstance(error, Refused) else str(error)
        raise BadInput(
            f"{server.base_url} cannot serve a classifier judge: it does not give the "
            f"log-probabilities of given tokens (got: {seen}); serve the judge with vLLM, or use "
            "--backend hf or vllm."
        ) from None
    if not exact:
        text = "%s lists the %d most probable tokens only: labels beyond them count as 0"
        log.warning(text, server.base_url, LISTED_LABELS)
    return {**body, dialect.length: 1, **dialect.extras}


def probe_response(
    server: Server,
    model: str,
    request: GenerateRequest,
    names: Sequence[str] = (),
    thinking: Thinking = AUTO,
    marked: bool = False,
) -> Dialect:
    """Tries out a short response of the request's kind, with its settings and its roles.

    Args:
        thinking: whether the model is to think before it answers a chat.
        marked: its thoughts are marked by special tokens, which the server is to leave in.

    Raises:
        BadInput: the server cannot respond like that, or cannot be told to think or not.
        NonFiniteLogits: the model's log-probabilities are no numbers.
    """
    if request.messages is not None and thinking.mode != "auto":
        for wish in thinking.to_server():
            dialect = _probe_response(server, model, request, names, {**wish}, marked)
            if wish.keys() <= dialect.extras.keys():
                return dialect
        if thinking.mode != "budget":
            raise BadInput(
                f"{server.base_url} takes neither chat_template_kwargs nor reasoning_effort, so "
                f"--thinking {thinking.mode} cannot be told to {model!r}; leave it out."
            )
    return _probe_response(server, model, request, names, {}, marked)


def _probe_response(
    server: Server,
    model: str,
    request: GenerateRequest,
    names: Sequence[str],
    wish: dict[str, Any],
    marked: bool,
) -> Dialect:
    body = {"model": model, **sampling_fields(request)}
    # Log-probabilities are asked for in this trial alone: a model whose numbers are NaN responds
    # with something all the same, but has none to give.
    extras = {**NEUTRAL, "seed": 0, **wish}
    if marked:
        extras["skip_special_tokens"] = False
    if request.messages is None:
        body["prompt"], read = "Hi", read_completion
        extras["logprobs"] = 1
    else:
        body["messages"] = [{"role": role, "content": "Hi"} for role, _ in request.messages]
        read = read_chat
        extras["logprobs"] = True
    try:
        reply, dialect = settle(server, path_of(request), body, extras, SHORT_RESPONSE, names)
        read(reply)
    except Refused as error:
        if "chat template" in error.message:
            raise BadInput(
                f"{server.base_url} has no chat template for {model!r}; run the chat tasks on "
                "plain prompts with --chat-template never."
            ) from None
        raise
    except Malformed as error:
        raise BadInput(
            f"{server.base_url}/{path_of(request)} does not answer by the OpenAI protocol ("
            f"{error}); check --base-url."
        ) from None
    if "seed" not in dialect.extras:
        log.warning("%s takes no seed: sampled responses cannot be had again", server.base_url)
    kept = {name: value for name, value in dialect.extras.items() if name != "logprobs"}
    return Dialect(dialect.length, kept)


def path_of(request: GenerateRequest) -> str:
    """Where a request for a response goes."""
    return "completions" if request.messages is None else "chat/completions"


def sampling_fields(request: GenerateRequest) -> dict[str, Any]:
    """How the response is drawn, in the protocol's own fields."""
    sampling = request.sampling
    fields: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    return fields
