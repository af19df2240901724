"""What the readers of all formats check in a row, and the record that they make of it.

A row that fails a check is a :class:`BadInput` whose sentence begins with the row's place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data.files import Record
from bfpo_bench.training.data.preferences import Messages, PreferenceRecord

ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}
"""Names of roles in data (ShareGPT's are ``human`` and ``gpt``) → ours."""

_MORE = (
    *("tool_calls", "function_call", "tools", "reasoning_content", "reasoning", "thinking"),
    *("images", "image", "audios", "audio", "videos", "video"),
)
"""Keys of a message that say more than its text."""

_MARKUP = re.compile(
    r"<\|(?:im_(?:start|end|sep)|user|assistant|system|human|bot|prompter|tool|end|endoftext|"
    r"end_?of_?(?:text|turn|role)|begin_?of_?text|start_of_(?:turn|role)|eo[tm](?:_id)?|"
    r"(?:start|end)_header_id|header_(?:start|end)|start|channel|message|return|"
    r"(?:START|END)_OF_TURN_TOKEN)\|>"
    r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<｜[^｜\n]{1,40}｜>"
    r"|\A\s*<(?:s|bos)>|<(?:/s|eos)>\s*\Z"
    r"|(?:\n|\A)(?:###\s*(?:Response|Assistant|Answer)|Assistant)\s*:\s*\Z"
    r"|(?:\s|\A)ASSISTANT\s*:\s*\Z"
)
"""Marks of chat templates in use: of turns anywhere, those of a text's beginning and end only there
(``</s>`` is HTML, too), and an assistant's turn that is open."""


def make_record(
    row: Record,
    source: str,
    prompt: Messages,
    responses: tuple[str, str],
    *,
    more_helpful: int | None,
    safe: tuple[bool | None, bool | None] = (None, None),
    safer: int | None = None,
) -> PreferenceRecord:
    """The record of a row, once its texts can be trained on.

    Where the row does not say which response is safer, labels that differ do.

    Raises:
        BadInput: a prompt that is no question, an empty response, or twice the same one.
    """
    if not prompt or prompt[-1][0] != "user":
        last = repr(prompt[-1][0]) if prompt else "nothing"
        raise BadInput(f"{row.at}: the prompt should end in the user's turn, it ends in {last}.")
    if not prompt[-1][1].strip():
        raise BadInput(f"{row.at}: the user's last message is empty.")
    if not all(text.strip() for text in responses):
        raise BadInput(f"{row.at}: a response is empty.")
    if responses[0].strip() == responses[1].strip():
        raise BadInput(f"{row.at}: the two responses are identical, so none is to be preferred.")
    check_texts(row, [*(content for _, content in prompt), *responses])
    if safer is None and None not in safe and safe[0] != safe[1]:
        safer = int(safe[1] is True)
    return PreferenceRecord(prompt, responses, more_helpful, safe, safer, source, row.at)


def check_texts(row: Record, texts: Sequence[str]) -> None:
    """Asks for texts that a chat template can be written around, and a tokenizer read.

    Raises:
        BadInput: half a surrogate pair, or a chat template's own marks.
    """
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            # JSON can write half of a surrogate pair; a tokenizer cannot read it.
            raise BadInput(
                f"{row.at}: a text holds half a surrogate pair at character {error.start}, which "
                "is no valid Unicode."
            ) from error
        # Most texts have none of these characters, and looking for them is quick.
        marked = "<" in text or "[" in text or text.rstrip().endswith(":")
        if marked and (mark := _MARKUP.search(text)) is not None:
            raise BadInput(
                f"{row.at}: a text holds the mark {mark[0].strip()!r} of a chat template, which "
                "would be written around it once more; take the template's words out of the data."
            )


def value(row: Record, name: str) -> Any:
    """What stands in a field that must be there."""
    if name not in row.values:
        there = ", ".join(map(repr, row.values))
        raise BadInput(f"{row.at}: there is no field {name!r}, only {there}.")
    return row.values[name]


def one_of(row: Record, name: str, allowed: tuple[int, int]) -> int:
    """0 or 1: which of the two allowed numbers stands there, as a number or as a digit."""
    found = value(row, name)
    for index, number in enumerate(allowed):
        # True == 1, but a flag is no number of a response.
        if found in (number, str(number)) and not isinstance(found, bool):
            return index
    raise BadInput(
        f"{row.at}: field {name!r} should name a response by its number, {allowed[0]} or "
        f"{allowed[1]}, found {shown(found)}."
    )


def flag(row: Record, name: str) -> bool:
    """True or false; also 1 or 0, as some exports write it."""
    found = value(row, name)
    if isinstance(found, (bool, int, float)) and found in (0, 1):
        return bool(found)
    raise BadInput(f"{row.at}: field {name!r} should be true or false, found {shown(found)}.")


def optional_flag(row: Record, *names: str) -> bool | None:
    """A flag under the first of these names that is there; None where none is, or it is null."""
    for name in names:
        if row.values.get(name) is not None:
            return flag(row, name)
    return None


def pair_of(row: Record, name: str) -> tuple[Any, Any]:
    """The two items of a list."""
    found = value(row, name)
    if not isinstance(found, (list, tuple)) or len(found) != 2:
        raise BadInput(
            f"{row.at}: field {name!r} should be a list of two items, found {shown(found)}."
        )
    return found[0], found[1]


def messages(row: Record, name: str, found: Any) -> Messages:
    """A conversation.

    Args:
        row: where it stands.
        name: its field, for errors.
        found: list of objects, one for each message: ``role`` and ``content``, or ShareGPT's
            ``from`` and ``value``.
    """
    if not isinstance(found, (list, tuple)) or not found:
        raise BadInput(
            f"{row.at}: field {name!r} should be a list of messages, found {shown(found)}."
        )
    said = []
    for number, message in enumerate(found, start=1):
        at = f"{row.at}: {name!r}, message {number}"
        if not isinstance(message, dict):
            raise BadInput(f"{at} is no object with a role and a text but {shown(message)}.")
        inner = Record(at, message)
        role, content = ("from", "value") if "from" in message else ("role", "content")
        who = value(inner, role)
        if not isinstance(who, str) or who not in ROLES:
            raise BadInput(
                f"{inner.at}: {role!r} should be one of {', '.join(ROLES)}, found {shown(who)}."
            )
        more = next((key for key in _MORE if message.get(key)), None)
        if more is not None:
            raise BadInput(
                f"{at} has {more!r} beside its text, which cannot be trained on; write it into the "
                "text, or take the row out."
            )
        said.append((ROLES[who], _text(inner, content)))
    return tuple(said)


def _text(message: Record, name: str) -> str:
    """The text of a message, also where it is written as parts that are all texts."""
    found = message.values.get(name)
    if isinstance(found, list) and found:
        parts = [part.get("text") if isinstance(part, dict) else None for part in found]
        if all(isinstance(part, str) for part in parts):
            return "".join(map(str, parts))
    return plain(message, name)


def plain(row: Record, name: str) -> str:
    """A text."""
    found = value(row, name)
    if not isinstance(found, str):
        raise BadInput(f"{row.at}: field {name!r} should be a text, found {shown(found)}.")
    return found


def shown(found: Any) -> str:
    """A value in a sentence, no longer than 60 characters."""
    text = json.dumps(found, default=str, ensure_ascii=True)
    return text if len(text) <= 60 else text[:57] + "..."
