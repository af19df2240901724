"""A toy annotator behind the OpenAI protocol: prefers the output with the word "good" in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tests.client.fake_server import Handler

CERTAIN = 0.9
"""Probability of the label of the output that it prefers."""

Act = Callable[[Handler], bool]


def shown(body: dict[str, Any]) -> tuple[str, str]:
    """The two outputs of a question in the order in which they are shown."""
    text = body["messages"][-1]["content"]
    first = text.split("m said: ")[1].split("\nM said: ")[0]
    second = text.split("\nM said: ")[1].split("\nName the better one.")[0]
    return first, second


def choice(body: dict[str, Any]) -> dict[str, Any]:
    """The answer by the book."""
    first, second = shown(body)
    p = CERTAIN if "good" in first else 1 - CERTAIN if "good" in second else 0.5
    text = "m" if p >= 0.5 else "M"
    found: dict[str, Any] = {
        "index": 0,
        "finish_reason": "length",
        "message": {"role": "assistant", "content": text},
    }
    if body.get("logprobs"):
        top = [("m", math.log(p)), ("M", math.log(1 - p)), ("Both", -20.0)]
        listed = [{"token": token, "logprob": value, "bytes": None} for token, value in top]
        found["logprobs"] = {
            "content": [{**listed[0 if text == "m" else 1], "top_logprobs": listed}]
        }
    else:
        rank = 1 if p >= 0.5 else 2
        ranks = [{"model": "model_1", "rank": rank}, {"model": "model_2", "rank": 3 - rank}]
        found["message"]["content"] = str(ranks)
    return found


class ToyAnnotator:
    """Answers by the book unless `before` has answered already.

    Attributes:
        before: called first; True: it has answered.
        asked: the questions that were answered by the book, in order, the trial ones among them.
        tokens: what it counts as read for each question.
    """

    def __init__(self, before: Act | None = None, tokens: int = 100) -> None:
        self.before = before
        self.asked: list[tuple[str, str]] = []
        self.tokens = tokens

    def __call__(self, handler: Handler) -> None:
        if handler.path == "/v1/models":
            handler.reply({"object": "list", "data": [{"id": "toy"}]})
            return
        if self.before is not None and self.before(handler):
            return
        self.asked.append(shown(handler.content))
        self.reply(handler, choice(handler.content))

    def reply(self, handler: Handler, content: dict[str, Any]) -> None:
        """Sends a choice."""
        usage = {"prompt_tokens": self.tokens, "completion_tokens": 1, "total_tokens": 101}
        handler.reply({"choices": [content], "usage": usage})
