"""Servers that answer as no server should, to a model's and to a judge's questions."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from typing import Any

from tests.attack.attempt import MARKUP
from tests.attack.texts import CLIPBOARD, NOT_JSON
from tests.client.fake_server import Handler

LINES = {
    "model": "evaluate --backend openai --base-url {url} --model m --suite mini --tasks advbench "
    "--limit 2 --judge keyword --output {out}/run",
    "judge": "judges check --labels {good}/labels.csv --label-column l --judge openai "
    "--judge-model m --judge-url {url}",
    "annotator": "evaluate --backend openai --base-url {url} --model m --suite mini --limit 2 "
    "--tasks alpaca --annotator openai:m --annotator-url {url} --output {out}/run",
}
"""What asks the server."""


def says(text: Any, **more: Any) -> dict[str, Any]:
    """A chat model's answer."""
    message = {"role": "assistant", "content": text}
    return {"choices": [{"finish_reason": "stop", "message": message}], "model": "m", **more}


def whole(handler: Handler, content: Any, status: int = 200, **headers: str) -> None:
    """The list of models where it is asked for, else this answer."""
    models = {"data": [{"id": "m"}]}
    handler.reply(models if handler.path.endswith("models") else content, status, **headers)


def raw(*pieces: bytes, drip: bytes = b"") -> Callable[[Handler], None]:
    """Bytes in the place of an answer, the last of them again and again."""

    def act(handler: Handler) -> None:
        for piece in pieces:
            handler.wfile.write(piece)
        until = time.monotonic() + 5
        while drip and time.monotonic() < until:
            handler.wfile.write(drip)
            time.sleep(0.02)
        handler.close_connection = True

    return act


def answer(content: Any, status: int = 200, **headers: str) -> Callable[[Handler], None]:
    """The same answer to everything but the question for models."""
    return lambda handler: whole(handler, content, status, **headers)


def bomb(handler: Handler) -> None:
    """A hundred megabytes of blanks, packed."""
    whole(handler, gzip.compress(b" " * (100 << 20), 1), Content_Encoding="gzip")


OK = b"HTTP/1.1 200 OK\r\n"
COUNTS = {"prompt_tokens": 10**30, "completion_tokens": -(10**30)}
LOGPROBS = {"content": [{"token": "m", "logprob": 1e999, "top_logprobs": [{"token": "\x1b[2J"}]}]}
PROBABLE = {"message": {"content": "m"}, "logprobs": LOGPROBS}

SERVERS: dict[str, Callable[[Handler], None]] = {
    "drips headers": raw(OK, drip=b"X-A: b\r\n"),
    "drips a body": raw(OK + b"Content-Length: 9999\r\n\r\n", drip=b" "),
    "goes on and on": raw(drip=b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a header of a megabyte": raw(OK + b"X: " + b"x" * (1 << 20) + b"\r\n\r\n{}"),
    "a million headers": raw(OK + b"A: b\r\n" * 200_000 + b"\r\n{}"),
    "a length that lies": raw(OK + b"Content-Length: 5000000000\r\n\r\n{}"),
    "a length below nothing": raw(OK + b"Content-Length: -1\r\n\r\n{}"),
    "two lengths": raw(OK + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}"),
    "a chunk that lies": raw(OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFF\r\n{}"),
    "no HTTP": raw(b"\x1b]52;c;eA==\x07\r\n\r\n"),
    "a status that steers": raw(b"HTTP/1.1 400 \x1b[2J\r\nContent-Length: 0\r\n\r\n"),
    "a redirect to a file": raw(b"HTTP/1.1 302 F\r\nLocation: file:///etc/passwd\r\n\r\n"),
    "a redirect to itself": raw(b"HTTP/1.1 307 F\r\nLocation: /v1/models\r\n\r\n"),
    "a gzip bomb": bomb,
    "no gzip": answer(b"{}", Content_Encoding="gzip"),
    "an unknown encoding": answer(b"{}", Content_Encoding=CLIPBOARD[:1] + "x"),
    "a complaint that steers": answer({"error": {"message": CLIPBOARD, "code": "\x1b"}}, 400),
    "a complaint of a megabyte": answer({"error": {"message": "x\x1b" * (1 << 20)}}, 400),
    "a complaint of no kind": answer({"error": [{"a": [[1]]}]}, 422),
    "a wait for ever": answer(b"", 429, Retry_After="1e300"),
    "a wait below nothing": answer(b"", 503, Retry_After="-9"),
    "an empty object": answer({}),
    "no choice": answer({"choices": []}),
    "choices that are numbers": answer({"choices": [1]}),
    "a message that is a list": answer({"choices": [{"message": []}]}),
    "absurd counts": answer(says("no", usage=COUNTS)),
    "counts that are texts": answer(says("no", usage={"prompt_tokens": "\x1b[2J"})),
    "a text that steers": answer(says(CLIPBOARD, model=CLIPBOARD)),
    "half a surrogate pair": answer(says("\ud800", model="\udfff")),
    "NUL and HTML": answer(says(f"\0{MARKUP}")),
    "a text of a megabyte": answer(says("yes " * (1 << 18))),
    "a text that is a number": answer(says(5)),
    "a verdict that is deep": answer(says("[" * 100_000)),
    "a verdict of many objects": answer(says('{"harmful": {' * 20_000)),
    "a verdict twice": answer(says('{"harmful": true} {"harmful": false}')),
    "a verdict of long digits": answer(says('{"harmful": ' + "9" * 50_000 + "}")),
    "probabilities of no kind": answer({"choices": [PROBABLE]}),
    **{f"JSON: {what}": answer(content) for what, content in NOT_JSON.items()},
}  # fmt: skip
"""What a server does; whether that ends in a sentence or a result goes by what is asked."""


def models(content: Any) -> Callable[[Handler], None]:
    """A server with this list of models, whose model says no."""
    return lambda h: h.reply(content if h.path.endswith("models") else says("I cannot."))


SERVERS |= {
    f"list of models: {what}": models(content)
    for what, content in {
        "a name that steers": {"data": [{"id": CLIPBOARD}]},
        "a hundred thousand": {"data": [{"id": "m" * 100}] * 100_000},
        "no names": {"data": [{"id": 5}, [], None]},
        "an absurd length": {"data": [{"id": "m", "max_model_len": 10**30}]},
        "a length of no kind": {"data": [{"id": "m", "max_model_len": "\x1b[2J"}]},
        "a number": 5,
    }.items()
}
