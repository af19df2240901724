"""What is sent to an OpenAI-compatible server, one request at a time."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

from bfpo_bench.client import Caller, GaveUp, Malformed, Refused, Server
from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.engines.openai import replies
from bfpo_bench.engines.openai.dialect import not_numbers
from bfpo_bench.engines.protocol import GenerateRequest, Score

T = TypeVar("T")

SEED_BITS = 31
"""Servers keep seeds in integers of various sizes; this fits all of them."""

TOO_LONG = re.compile(
    r"context (length|window|size)|max_model_len|too (long|many tokens)|maximum .*\btokens", re.I
)

NO_SCORE = Score(math.nan, False)
"""Where the model's logits are no numbers: whoever asked names the item."""

FILTER_CODES = ("content_filter", "content_policy_violation")


def move_blanks(context: str, continuation: str) -> tuple[str, str]:
    """Blanks at the end of a context go to the continuation, as where token ids are sent."""
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def score_text(caller: Caller, fixed: dict[str, Any], context: str, continuation: str) -> Score:
    """Scores a continuation on a server that tokenises the text itself.

    Args:
        fixed: the request without its prompt.
        context: without blanks at its end.

    Raises:
        BadInput: where the continuation begins, or the score of its first token, cannot be found.
    """

    def read(reply: Any) -> tuple[replies.Echo, Score | None]:
        echo = replies.read_echo(reply)
        at = replies.border(echo.tokens, continuation)
        if at is None and not context:
            # Some tokenizers write a blank before the first word.
            text = "".join(echo.tokens[1:])
            at = 1 if text.strip() == continuation.strip() else None
        return echo, None if at is None else _score_after(echo, at)

    echo, score = post(caller, "completions", {**fixed, "prompt": context + continuation}, read)
    if score is None and context:
        # A token spans the border, or a character several tokens: count those of the context.
        counted = {k: v for k, v in fixed.items() if k not in ("echo", "logprobs")}
        at = post(caller, "completions", {**counted, "prompt": context}, _prompt_tokens)
        score = _score_after(echo, at)
    if score is None:
        raise BadInput(
            f"the border between a context and the continuation {continuation[:40]!r} cannot be "
            "found in the server's tokens; give the served model's tokenizer with --tokenizer."
        )
    return score


def _score_after(echo: replies.Echo, at: int) -> Score | None:
    return replies.score_from(echo, at) if 0 < at < len(echo.tokens) else None


def _prompt_tokens(reply: Any) -> int:
    count = replies.prompt_tokens(reply)
    if count is None:
        raise Malformed("no count of the prompt's tokens (usage)")
    return count


def or_no_score(ask: Callable[[Caller, T], Score]) -> Callable[[Caller, T], Score]:
    """`ask`, with a score of NaN where the server fails to write one down."""

    def work(caller: Caller, task: T) -> Score:
        try:
            return ask(caller, task)
        except (Refused, GaveUp) as error:
            if not_numbers(error):
                return NO_SCORE
            raise

    return work


def post(caller: Caller, path: str, body: dict[str, Any], read: Callable[[Any], T]) -> T:
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


def kind(request: GenerateRequest) -> str:
    """``"chat"`` where the server applies its chat template, else ``"text"``."""
    return "text" if request.messages is None else "chat"


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


def seed(request: GenerateRequest) -> int:
    """The request's seed, as servers take it."""
    return request.seed % (1 << SEED_BITS)


def broken_model(model: str, server: Server) -> RunFailed:
    """What to say where a served model's numbers are none."""
    return RunFailed(
        f"the log-probabilities of {model!r} at {server.base_url} are NaN or infinite; its weights "
        "are damaged or its numbers overflow (serve it in float32 or bfloat16)."
    )


def message_objects(messages: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    """Messages as the protocol writes them."""
    return [{"role": role, "content": content} for role, content in messages]


def filtered(error: Refused) -> bool:
    """Whether a provider's content filter, not the server, refused the prompt."""
    if error.code in FILTER_CODES:
        return True
    # OpenAI's reasoning models: "Invalid prompt: your prompt was flagged as …".
    return error.code == "invalid_prompt" and "flagged" in error.message
