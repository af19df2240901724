"""Questions that a served chat model answers with one JSON object: of judges, and of rankers.

What is asked about is shown as JSON strings (see :func:`quoted`), and an answer that is not exactly
such an object is none.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Any

from bfpo_bench.client import GaveUp, Refused, Server
from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.openai.dialect import settle

log = logging.getLogger(__name__)

PATH = "chat/completions"
TEMPERATURE = 0.0

# Special tokens of chat templates begin with these: <|im_end|>, </s>, <start_of_turn>, [/INST] …
# Beyond ASCII: line separators, marks of direction and the like, see _escape.
_ESCAPED = re.compile(r"<|\[(?=/?[A-Z_]+\])|[^\x20-\x7e]")

# Some servers leave the opening mark in the prompt.
_THOUGHTS = re.compile(r"\A(?!\s*\{).*?</think>", re.DOTALL)
_FENCED = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)

# Refusals that are about what was sent, by the server's code or message. Any other 4xx is about the
# key, the account or the model, and no reason to store that there is no answer.
_FILTERED = re.compile(
    r"content[ _-]?(filter|policy|management)|moderation|flagged|responsible_?ai|safety system",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _-]?(length|window)|maximum[ _]context|string_above_max_length|too many tokens",
    re.IGNORECASE,
)


def answer_format(name: str, values: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The ``response_format`` of an object with a reason and fields of these values."""
    return {
        "type": "json_schema",
        "json_schema": {
            "name": name,
            "strict": True,
            "schema": {
                "type": "object",
                # The reason comes first: what a model has written by then informs its answer.
                "properties": {"reason": {"type": "string"}, **values},
                "required": ["reason", *values],
                "additionalProperties": False,
            },
        },
    }


def quoted(text: str) -> str:
    r"""Untrusted text as one JSON string, quotes included; any JSON parser gives it back unchanged.

    Nothing in the text can end the string or begin a line, so nothing in it stands where the
    question's own words stand. Invisible characters and the beginnings of special tokens are spelt
    as escapes (``\u003c|im_end|>``): a server that looks for such tokens in a message finds none.
    """
    return _ESCAPED.sub(_escape, json.dumps(text, ensure_ascii=False))


def _escape(mark: re.Match[str]) -> str:
    character = mark[0]
    if character.isascii():
        return f"\\u{ord(character):04x}"
    return character if character.isprintable() else json.dumps(character)[1:-1]


def json_answer(text: str) -> Any:
    """The JSON value that a model's answer is.

    A code fence around it and a reasoning model's ``<think>`` block before it are tolerated. JSON
    is not searched for in prose: the prose may be quoting what was asked about.

    Raises:
        ValueError: ``is empty`` or ``is no JSON``; so is an object that names a field twice.
    """
    text = _THOUGHTS.sub("", text).strip()
    fenced = _FENCED.match(text)
    text = fenced[1] if fenced else text
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise ValueError("is no JSON" if text else "is empty") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field is there twice")
    return dict(pairs)


def settle_questions(
    server: Server,
    fields: dict[str, Any],
    response_format: dict[str, Any],
    max_tokens: int,
    who: str,
    explained: Callable[[Refused], BadInput],
) -> dict[str, Any]:
    """The fields of a question that the server takes, found out with a harmless one.

    Args:
        fields: model and messages of the harmless question.
        max_tokens: most tokens of an answer.
        who: asks: ``judge 'openai'``; its server is chosen with ``--judge-url``.
        explained: what to say when the server refuses to serve us.

    Returns:
        the request without its messages.

    Raises:
        BadInput: nobody answers, or the server refuses.
        RunFailed: it gives no usable answer.
    """
    body = {**fields, "temperature": TEMPERATURE}
    wanted = {"response_format": response_format}
    try:
        try:
            _, dialect = settle(server, PATH, body, wanted, max_tokens)
        except Refused as error:
            if error.status not in (400, 422) or "temperature" not in error.message:
                raise
            # Reasoning models that only sample.
            log.warning("%s takes no temperature: what it says can change", body["model"])
            del body["temperature"]
            _, dialect = settle(server, PATH, body, wanted, max_tokens)
    except Refused as error:
        raise explained(error) from None
    except GaveUp as error:
        if error.status is None:
            raise BadInput(
                f"{who}: no server answers at {server.base_url} ({error.reason}); start it, or "
                f"give its address with --{who.split()[0]}-url."
            ) from None
        raise
    if not dialect.extras:
        log.info("%s takes no response_format: it is asked for JSON in words", server.base_url)
    del body["messages"]
    return {**body, dialect.length: max_tokens, **dialect.extras}


def about_the_item(error: Refused) -> str | None:
    """Why the server refuses this very question; None where the refusal is about something else.

    The server's message is not passed on: it may quote what it refuses.
    """
    said = f"{error.code} {error.message}"
    if error.status in (400, 403, 422) and _FILTERED.search(said):
        return "the judge's content filter refused"
    if error.status == 413 or (error.status in (400, 422) and _TOO_LONG.search(said)):
        return "too long for the judge"
    return None
