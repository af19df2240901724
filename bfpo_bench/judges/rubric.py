"""Rubric judges: a model behind an OpenAI-compatible server is told what counts as harmful.

The verdict is the one field of a JSON object that the model answers with; an answer that is not
exactly such an object is no verdict. Prompt and response are shown as JSON strings (see
:func:`quoted`).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bfpo_bench.client import Caller, GaveUp, Refused, Server, ask_all
from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.openai.dialect import settle
from bfpo_bench.engines.openai.replies import read_chat
from bfpo_bench.judges.protocol import Exchange, Verdict
from bfpo_bench.judges.template import fill, placeholders, valid_unicode

if TYPE_CHECKING:
    from bfpo_bench.judges.rubric_card import RubricCard

log = logging.getLogger(__name__)

PATH = "chat/completions"
TEMPERATURE = 0.0

RESPONSE_FORMAT: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "strict": True,
        "schema": {
            "type": "object",
            # The reason comes first: what a model has written by then informs its verdict.
            "properties": {"reason": {"type": "string"}, "harmful": {"type": "boolean"}},
            "required": ["reason", "harmful"],
            "additionalProperties": False,
        },
    },
}

_TRIAL = Exchange("What is the capital of France?", "Paris.")

# Special tokens of chat templates begin with these: <|im_end|>, </s>, <start_of_turn>, [/INST] …
# Beyond ASCII: line separators, marks of direction and the like, see _escape.
_ESCAPED = re.compile(r"<|\[(?=/?[A-Z_]+\])|[^\x20-\x7e]")

# Some servers leave the opening mark in the prompt.
_THOUGHTS = re.compile(r"\A(?!\s*\{).*?</think>", re.DOTALL)
_FENCED = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)

# Refusals that are about what was sent, by the server's code or message. Any other 4xx is about the
# key, the account or the model, and no reason to store an unknown verdict.
_FILTERED = re.compile(
    r"content[ _-]?(filter|policy|management)|moderation|flagged|responsible_?ai|safety system",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _-]?(length|window)|maximum[ _]context|string_above_max_length|too many tokens",
    re.IGNORECASE,
)


class RubricJudge:
    """A rubric card with its server behind it (see ``RubricCard.open``)."""

    def __init__(self, card: RubricCard, server: Server) -> None:
        self.name = card.name
        self._card = card
        self._server = server
        self._fields = _settle(card, server, self._messages(_TRIAL)[0])

    def judge(self, items: Sequence[Exchange]) -> list[Verdict]:
        """One verdict per exchange; see :meth:`stream`."""
        found: dict[int, Verdict] = {}
        for batch in self.stream(enumerate(items)):
            found.update(batch)
        return [found[i] for i in range(len(items))]

    def stream(self, items: Iterable[tuple[int, Exchange]]) -> Iterator[list[tuple[int, Verdict]]]:
        """Verdicts on numbered exchanges as they come, ``concurrency`` asked for at a time.

        Raises:
            BadInput: the server refuses to serve us, e.g. because the key was withdrawn.
            RunFailed: it gives no usable answer, however often it is asked.
        """
        return ask_all(self._server, items, self._ask, self._card.concurrency)

    def _ask(self, caller: Caller, item: Exchange) -> Verdict:
        messages, notes = self._messages(item)
        try:
            return caller.post(
                PATH, {**self._fields, "messages": messages}, lambda reply: _verdict(reply, notes)
            )
        except Refused as error:
            why = about_the_item(error)
            if why is None:
                raise _explained(self._card, error) from None
            return Verdict(None, None, "; ".join([f"{why} (HTTP {error.status})", *notes]))

    def _messages(self, item: Exchange) -> tuple[list[dict[str, str]], list[str]]:
        """What the model is shown of an exchange, with notes on what was cut from it."""
        card, most = self._card, self._card.max_chars
        prompt, response = valid_unicode(item.prompt), valid_unicode(item.response)
        notes = []
        if len(response) > most:
            notes.append(f"response cut to its first {most} characters")
        if len(prompt) > most and "prompt" in placeholders(card.user):
            notes.append(f"prompt cut to its last {most} characters")
        values = {"prompt": quoted(prompt[-most:]), "response": quoted(response[:most])}
        messages = [
            {"role": "system", "content": card.system},
            {"role": "user", "content": fill(card.user, values)},
        ]
        return messages, notes


def quoted(text: str) -> str:
    r"""Untrusted text as one JSON string, quotes included; any JSON parser gives it back unchanged.

    Nothing in the text can end the string or begin a line, so nothing in it stands where the
    rubric's own words stand. Invisible characters and the beginnings of special tokens are spelt
    as escapes (``\u003c|im_end|>``): a server that looks for such tokens in a message finds none.
    """
    return _ESCAPED.sub(_escape, json.dumps(text, ensure_ascii=False))


def _escape(mark: re.Match[str]) -> str:
    character = mark[0]
    if character.isascii():
        return f"\\u{ord(character):04x}"
    return character if character.isprintable() else json.dumps(character)[1:-1]


def read_verdict(text: str) -> tuple[bool | None, str]:
    """The verdict that an answer amounts to, and in a few words why there is none.

    The whole answer must be one JSON object with a true or false ``harmful``; a code fence around
    it and a reasoning model's ``<think>`` block before it are tolerated. JSON is not searched for
    in prose: the prose may be quoting the response.
    """
    text = answer_text(text)
    try:
        content = json_value(text)
    except (ValueError, RecursionError):
        return None, "the judge's answer is no JSON" if text else "the judge's answer is empty"
    if not isinstance(content, dict) or not isinstance(content.get("harmful"), bool):
        return None, "the judge's answer has no true or false 'harmful'"
    return content["harmful"], ""


def answer_text(text: str) -> str:
    """A model's answer without its thoughts and without a code fence around it."""
    text = _THOUGHTS.sub("", text).strip()
    fenced = _FENCED.match(text)
    return fenced[1] if fenced else text


def json_value(text: str) -> Any:
    """The JSON value that a text is, whole.

    Raises:
        ValueError, RecursionError: it is none, or an object names a field twice.
    """
    return json.loads(text, object_pairs_hook=_without_repeats)


def _verdict(reply: Any, notes: Sequence[str]) -> Verdict:
    answer = read_chat(reply)
    if answer.finish == "content_filter":
        return Verdict(None, None, "; ".join(["the judge's content filter cut in", *notes]))
    harmful, why = read_verdict(answer.text)
    if harmful is not None:
        # The model's reason is left out: it may quote the response.
        return Verdict(harmful, None, "; ".join([f"harmful: {str(harmful).lower()}", *notes]))
    if answer.finish == "length":
        why = "the judge's answer was cut off at max_tokens"
    elif reply["choices"][0]["message"].get("refusal"):
        why = "the judge declined to answer"
    return Verdict(None, None, "; ".join([why, *notes]))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field is there twice")
    return dict(pairs)


def _settle(card: RubricCard, server: Server, messages: list[dict[str, str]]) -> dict[str, Any]:
    """The fields of a request that the server takes, found out with one harmless exchange."""
    body: dict[str, Any] = {"model": card.model, "messages": messages, "temperature": TEMPERATURE}
    wanted = {"response_format": RESPONSE_FORMAT}
    try:
        try:
            _, dialect = settle(server, PATH, body, wanted, card.max_tokens)
        except Refused as error:
            if error.status not in (400, 422) or "temperature" not in error.message:
                raise
            # Reasoning models that only sample.
            log.warning("%s takes no temperature: its verdicts can change", card.model)
            del body["temperature"]
            _, dialect = settle(server, PATH, body, wanted, card.max_tokens)
    except Refused as error:
        raise _explained(card, error) from None
    except GaveUp as error:
        if error.status is None:
            raise BadInput(
                f"judge {card.name!r}: no server answers at {card.base_url} ({error.reason}); "
                "start it, or give its address with --judge-url."
            ) from None
        raise
    if not dialect.extras:
        log.info("%s takes no response_format: it is asked for JSON in words", card.base_url)
    del body["messages"]
    return {**body, dialect.length: card.max_tokens, **dialect.extras}


def about_the_item(error: Refused) -> str | None:
    """Why the server refuses this very exchange; None where the refusal is about something else.

    The server's message is not passed on: it may quote what it refuses.
    """
    said = f"{error.code} {error.message}"
    if error.status in (400, 403, 422) and _FILTERED.search(said):
        return "the judge's content filter refused"
    if error.status == 413 or (error.status in (400, 422) and _TOO_LONG.search(said)):
        return "too long for the judge"
    return None


def _explained(card: RubricCard, error: Refused) -> BadInput:
    hint = "."
    if error.status in (401, 403):
        hint = f"; set the server's key in {card.api_key_env}."
    elif error.status == 404:
        hint = "; check --judge-model, and --judge-url, which usually ends in /v1."
    return BadInput(
        f"judge {card.name!r}: {card.base_url} refused to have {card.model!r} judge "
        f"({error.said}){hint}"
    )
