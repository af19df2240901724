"""A toy model behind the OpenAI protocol: its numbers follow from the text alone."""

from __future__ import annotations

import json
import re
from typing import Any
from zlib import crc32

from tests.client.fake_server import Handler

MODEL = "toy"
_WORD = re.compile(r"\s*\S+|\s+")


def logprob(token: str) -> float:
    """What the toy model thinks of a token, whatever stands before it."""
    return -(crc32(token.encode()) % 997 + 1) / 100


def is_best(token: str) -> bool:
    """Whether greedy decoding would have taken the token."""
    return crc32(token.encode()) % 3 != 0


def response(asked: Any, seed: Any) -> str:
    """What the toy model says to a prompt or to messages."""
    return f"answer {crc32(json.dumps([asked, seed]).encode())}"


class Toy:
    """Answers by the book. Tests set the switches to make it a server of another kind.

    Attributes:
        tokenizer: splits texts into this tokenizer's tokens; None: into words.
        unknown: fields that are refused as unknown.
        window: context window it tells of and enforces; None: neither.
    """

    def __init__(self, tokenizer: Any = None) -> None:
        self.tokenizer = tokenizer
        self.unknown: set[str] = set()
        self.window: int | None = None

    def __call__(self, handler: Handler) -> None:
        body = handler.content
        if handler.path == "/v1/models":
            card = {"id": MODEL, "object": "model", "max_model_len": self.window}
            handler.reply({"object": "list", "data": [card]})
        elif body["model"] != MODEL:
            error = {"message": f"The model {body['model']!r} does not exist.", "code": 404}
            handler.reply({"error": error}, 404)
        elif refused := sorted(self.unknown & body.keys()):
            message = f"Unrecognized request argument supplied: {refused[0]}"
            handler.reply({"error": {"message": message}}, 400)
        elif handler.path == "/v1/chat/completions":
            handler.reply(self.chat(body))
        else:
            self.complete(handler, body)

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        text = response(body["messages"], body.get("seed"))
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}

    def complete(self, handler: Handler, body: dict[str, Any]) -> None:
        prompt = body["prompt"]
        tokens = self.tokens(prompt, bool(body.get("return_tokens_as_token_ids")))
        if self.window is not None and len(tokens) + body["max_tokens"] > self.window:
            message = f"This model's maximum context length is {self.window} tokens."
            handler.reply({"error": {"message": message}}, 400)
            return
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length", "logprobs": None}
        choice["text"] = response(prompt, body.get("seed"))
        if body.get("echo"):
            choice["logprobs"] = self.echoed([*tokens, "x"])
        elif "logprob_token_ids" in body:
            named = {f"token_id:{i}": logprob(str(i)) for i in body["logprob_token_ids"]}
            choice["logprobs"] = {"top_logprobs": [named]}
        usage = {"prompt_tokens": len(tokens), "completion_tokens": body["max_tokens"]}
        handler.reply({"choices": [choice], "usage": usage})

    def echoed(self, tokens: list[str]) -> dict[str, Any]:
        values = [None, *(logprob(token) for token in tokens[1:])]
        tops: list[Any] = [None]
        for token, value in zip(tokens[1:], values[1:], strict=True):
            best = {} if is_best(token) else {"something better": value / 2}
            tops.append({token: value, **best})
        return {
            "tokens": tokens,
            "token_logprobs": values,
            "top_logprobs": tops,
            "text_offset": [-1] * len(tokens),
        }

    def tokens(self, prompt: str | list[int], as_ids: bool) -> list[str]:
        if isinstance(prompt, str) and self.tokenizer is None:
            return ["<s>", *_WORD.findall(prompt)]
        ids = self.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
        if as_ids:
            return [f"token_id:{i}" for i in ids]
        return [self.tokenizer.decode([i]) for i in ids]
