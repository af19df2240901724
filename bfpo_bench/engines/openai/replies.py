"""What the answers of an OpenAI-compatible server mean. Pure functions of decoded JSON.

Servers differ and may be broken: whatever is not as the protocol has it raises
:class:`~bfpo_bench.client.Malformed`, and the request is sent again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bfpo_bench.client import Malformed
from bfpo_bench.engines.protocol import Response, Score

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
    count = _usage(reply).get("prompt_tokens")
    if count is None:
        # Asked for one generated token.
        count = len(tokens) - 1
    if not len(tokens) == len(values) == len(_list(tops, "top_logprobs")):
        raise Malformed("lists of log-probabilities of different lengths")
    if not 0 < count <= len(tokens):
        raise Malformed(f"log-probabilities of {len(tokens)} tokens for a prompt of {count}")
    return Echo(
        [str(token) for token in tokens[:count]],
        [None if value is None else _number(value) for value in values[:count]],
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
        thought=_clean(thought) if isinstance(thought, str) else None,
        no_content=text is None,
    )


def _response(reply: Any, choice: dict[str, Any], text: Any) -> Response:
    if not isinstance(text, str):
        raise Malformed(f"the response is no text but {type(text).__name__}")
    finish = str(choice.get("finish_reason") or "stop")
    if finish in ("abort", "error", "cancelled"):
        raise Malformed(f"the server ended the response by itself ({finish})")
    usage = _usage(reply)
    tokens = usage.get("completion_tokens", 0)
    # vLLM counts the end-of-sequence token; its `stop_reason` is a text when it was none.
    if finish == "stop" and "stop_reason" in choice and not isinstance(choice["stop_reason"], str):
        tokens = max(0, tokens - 1)
    return Response(_clean(text), tokens, usage.get("prompt_tokens", 0), 0, finish)


def _clean(text: str) -> str:
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
    return [-math.inf if v is None else _number(v) for v in found], None not in found


def _usage(reply: Any) -> dict[str, int]:
    usage = reply.get("usage") if isinstance(reply, dict) else None
    if not isinstance(usage, dict):
        return {}
    return {k: v for k, v in usage.items() if isinstance(v, int) and v >= 0}


def _choice(reply: Any) -> dict[str, Any]:
    choices = _list(_dict(reply, "answer").get("choices"), "choices")
    if len(choices) != 1:
        raise Malformed(f"{len(choices)} choices where one was asked for")
    return _dict(choices[0], "choice")


def _highest(top: Any) -> float | None:
    if not isinstance(top, dict) or not top:
        return None
    return max(_number(value) for value in top.values())


def _dict(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{name} is no JSON object but {type(value).__name__}")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed(f"{name} is no JSON list but {type(value).__name__}")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise Malformed(f"a log-probability is no number but {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        raise Malformed("a log-probability beyond all numbers") from None
