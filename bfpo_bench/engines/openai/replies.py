"""What the answers of an OpenAI-compatible server mean. Pure functions of decoded JSON.

Servers differ and may be broken: whatever is not as the protocol has it raises
:class:`~bfpo_bench.client.Malformed`, and the request is sent again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from bfpo_bench.client import Malformed
from bfpo_bench.engines.protocol import Response, Score

MOST_TOKENS = 10**9
"""More than any text has; a server that counts more has miscounted."""

TOKEN_ID = "token_id:"
"""How vLLM writes tokens when asked to ``return_tokens_as_token_ids``."""


@dataclass(frozen=True)
class Echo:
    """A prompt as the server read it, without what it generated after it.

    Attributes:
        tokens: text of each token, or ``token_id:N``.
        logprobs: natural-log probability of each; None where the server gives none (the first).
        top: highest log-probability at each place, None where unknown.
    """

    tokens: list[str]
    logprobs: list[float | None]
    top: list[float | None]


def read_echo(reply: Any) -> Echo:
    """The prompt's part of a completion asked for with ``echo`` and ``logprobs``."""
    listed = _dict(_choice(reply).get("logprobs"), "logprobs")
    tokens = _list(listed.get("tokens"), "tokens")
    values = _list(listed.get("token_logprobs"), "token_logprobs")
    tops = listed.get("top_logprobs") or [None] * len(tokens)
    told = usage(reply).get("prompt_tokens", 0)
    # Asked for one generated token.
    count = told if 0 < told <= len(tokens) else len(tokens) - 1
    if not len(tokens) == len(values) == len(_list(tops, "top_logprobs")):
        raise Malformed("lists of log-probabilities of different lengths")
    if count < 1:
        raise Malformed(f"log-probabilities of {len(tokens)} tokens for a prompt of {told}")
    return Echo(
        [str(token) for token in tokens[:count]],
        [None if value is None else log_probability(value) for value in values[:count]],
        [_highest(top) for top in tops[:count]],
    )


def score_by_ids(echo: Echo, context: Sequence[int], continuation: Sequence[int]) -> Score:
    """Score of a continuation after a context that were sent as token ids."""
    ids = [*context, *continuation]
    if len(echo.tokens) != len(ids):
        raise Malformed(f"a prompt of {len(ids)} tokens came back as {len(echo.tokens)}")
    if echo.tokens[0].startswith(TOKEN_ID) and echo.tokens != [f"{TOKEN_ID}{i}" for i in ids]:
        raise Malformed("the prompt came back as other tokens")
    total, greedy, start = 0.0, True, len(context)
    for value, top in zip(echo.logprobs[start:], echo.top[start:], strict=True):
        if value is None:
            raise Malformed("a token of the continuation has no log-probability")
        total += value
        greedy = greedy and top is not None and value >= top
    return Score(total, greedy)


def read_completion(reply: Any) -> Response:
    """Response of ``/completions``."""
    choice = _choice(reply)
    return _response(reply, choice, choice.get("text"))


def read_chat(reply: Any) -> Response:
    """Response of ``/chat/completions``. A refusal that comes in a field of its own is text too.

    So is a thought: in ``reasoning`` or, by older servers, ``reasoning_content``. One that uses up
    all tokens leaves the content null.
    """
    choice = _choice(reply)
    message = _dict(choice.get("message"), "message")
    text = message.get("content") or message.get("refusal") or message.get("content")
    thought = message.get("reasoning") or message.get("reasoning_content")
    return replace(
        _response(reply, choice, text or ""),
        thought=clean(thought) if isinstance(thought, str) else None,
        no_content=text is None,
    )


def _response(reply: Any, choice: dict[str, Any], text: Any) -> Response:
    if not isinstance(text, str):
        raise Malformed(f"the response is no text but {type(text).__name__}")
    finish = finish_reason(choice)
    counts = usage(reply)
    tokens = counts.get("completion_tokens", 0)
    # vLLM counts the end-of-sequence token; its `stop_reason` is a text when it was none.
    if finish == "stop" and "stop_reason" in choice and not isinstance(choice["stop_reason"], str):
        tokens = max(0, tokens - 1)
    return Response(clean(text), tokens, counts.get("prompt_tokens", 0), 0, finish)


def clean(text: str) -> str:
    """A text that files take."""
    # JSON can spell halves of a character, which no file takes.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_next(reply: Any, ids: Sequence[int]) -> tuple[list[float], bool]:
    """Log-probabilities of `ids` as the first generated token.

    Returns:
        ``-inf`` where a token is not among those listed; whether all are.
    """
    listed = _dict(_choice(reply).get("logprobs"), "logprobs")
    tops = _list(listed.get("top_logprobs"), "top_logprobs")
    first = _dict(tops[0] if tops else None, "top_logprobs")
    if not any(str(token).startswith(TOKEN_ID) for token in first):
        raise Malformed("tokens come as texts, not as ids")
    found = [first.get(f"{TOKEN_ID}{i}") for i in ids]
    return [-math.inf if v is None else log_probability(v) for v in found], None not in found


def usage(reply: Any) -> dict[str, int]:
    """The tokens that a server counted, by its own names; what is no such number is left out."""
    counts = reply.get("usage") if isinstance(reply, dict) else None
    if not isinstance(counts, dict):
        return {}
    return {name: value for name, value in counts.items() if is_count(value)}


def is_count(value: Any) -> TypeGuard[int]:
    """Whether what a server gives can be a number of tokens."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS


def finish_reason(choice: dict[str, Any]) -> str:
    """Why a response ended where it does, a word of at most 40 characters.

    Raises:
        Malformed: the server broke it off.
    """
    finish = clean(str(choice.get("finish_reason") or "stop"))[:40]
    if finish in ("abort", "error", "cancelled"):
        raise Malformed(f"the server ended the response by itself ({finish})")
    return finish


def _choice(reply: Any) -> dict[str, Any]:
    choices = _list(_dict(reply, "answer").get("choices"), "choices")
    if len(choices) != 1:
        raise Malformed(f"{len(choices)} choices where one was asked for")
    return _dict(choices[0], "choice")


def _highest(top: Any) -> float | None:
    if not isinstance(top, dict) or not top:
        return None
    return max(log_probability(value) for value in top.values())


def _dict(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{name} is no JSON object but {type(value).__name__}")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed(f"{name} is no JSON list but {type(value).__name__}")
    return value


def log_probability(value: Any) -> float:
    """What a server gives as one; NaN, which broken models have, stays what it is.

    Raises:
        Malformed: it is none.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise Malformed(f"a log-probability is no number but {type(value).__name__}")
    # Rounding takes that of a certain token a little above 0.
    if value > 0.1:
        raise Malformed("a log-probability above 0")
    try:
        return float(value)
    except OverflowError:
        raise Malformed("a log-probability beyond all numbers") from None
