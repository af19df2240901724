"""What all readers check in a row, and what it asks, from whichever of the known columns hold it.

A row that fails a check is a :class:`BadInput` whose sentence begins with the row's place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data.files import Record
from bfpo_bench.training.data.preferences import Messages

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


TALKS = ("messages", "conversations")
"""Columns that hold a conversation: UltraChat's and ShareGPT's."""

PROMPTS = ("prompt", "instruction", "question", "query", "input", *TALKS)
"""Columns that hold a prompt, in the order in which they are looked for: TRL's, LLaMA-Factory's and
Alpaca's, orca_dpo_pairs', and conversations."""

MORE = ("input", "context")
"""What may stand beside ``instruction``: LLaMA-Factory's and Alpaca's input, Dolly's context."""

ANSWERS = ("completion", "output", "response", "answer")
"""Columns of the answer, in the order in which they are looked for: TRL's, Alpaca's, Dolly's, …"""

SYSTEMS = ("system", "system_prompt", "system_message")


def filled(row: Record, name: str) -> bool:
    """Whether there is something in a column: no null, no blank text, no empty list."""
    found = row.values.get(name)
    return bool(found.strip()) if isinstance(found, str) else found not in (None, [], {})


def has_prompt(row: Record) -> bool:
    """Whether a row has a column for the prompt, empty or not."""
    return any(name in row.values for name in PROMPTS)


def asked(row: Record, names: Sequence[str] = PROMPTS) -> Messages:
    """The conversation in the first of these columns that holds one, mostly up to a question.

    LLaMA-Factory's ``input`` follows its ``instruction`` on a new line, as it is written there.

    Raises:
        BadInput: there is none, or it is no text and no conversation.
    """
    name = next((name for name in names if filled(row, name)), None)
    if name is None:
        there = [name for name in names if name in row.values]
        if there:
            raise BadInput(f"{row.at}: field {there[0]!r} should hold the prompt, and is empty.")
        raise BadInput(
            f"{row.at}: no field holds what is asked: {', '.join(map(repr, names))} are looked "
            f"for, and there are only {', '.join(map(repr, row.values))}."
        )
    found = row.values[name]
    if not isinstance(found, str):
        said = messages(row, name, found)
    else:
        more = next((n for n in MORE if name == "instruction" and filled(row, n)), None)
        text = found if more is None else f"{found}\n{plain(row, more)}"
        said = transcript(text) or (("user", text),)
    return with_system(row, (*_history(row), *said))


def answered(row: Record) -> Messages:
    """The conversation of a row: whole (``messages``, ``conversations``), or prompt and answer.

    Raises:
        BadInput: there is none, or it does not go from the user to the assistant's answer.
    """
    said = asked(row, (*TALKS, *PROMPTS))
    there = [name for name in ANSWERS if name in row.values]
    if said[-1][0] == "user" and there:
        name = next((name for name in there if filled(row, name)), None)
        if name is None:
            raise BadInput(f"{row.at}: field {there[0]!r} should hold the answer, and is empty.")
        found = row.values[name]
        more = (("assistant", found),) if isinstance(found, str) else messages(row, name, found)
        said = (*said, *more)
    roles = [role for role, _ in said if role != "system"]
    if not roles or roles[-1] != "assistant" or roles[0] != "user":
        raise BadInput(f"{row.at}: a conversation goes from the user to the assistant's answer.")
    return said


def with_system(row: Record, said: Messages) -> Messages:
    """A conversation after the system message of its row's column, where it has one.

    Raises:
        BadInput: the conversation begins with another one.
    """
    for name in SYSTEMS:
        if not filled(row, name):
            continue
        text = plain(row, name)
        if said and said[0][0] == "system":
            if said[0][1].strip() != text.strip():
                raise BadInput(
                    f"{row.at}: field {name!r} and the first message of the conversation are two "
                    f"different system messages ({shown(text)}); leave one of them."
                )
        else:
            said = (("system", text), *said)
    return said


def _history(row: Record) -> Messages:
    """LLaMA-Factory's earlier rounds: a list of pairs of instruction and answer."""
    found: Any = row.values.get("history") or []
    rounds = [tuple(one) if isinstance(one, list | tuple) else () for one in found]
    if not isinstance(found, list | tuple) or not all(
        len(one) == 2 and all(isinstance(text, str) for text in one) for one in rounds
    ):
        raise BadInput(
            f"{row.at}: field 'history' should be a list of pairs of texts, an instruction and "
            f"its answer, found {shown(found)}."
        )
    return tuple(turn for one in rounds for turn in zip(("user", "assistant"), one, strict=True))


_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}


def transcript(text: str) -> Messages:
    """The turns of a dialogue in Anthropic's notation, as in HH-RLHF; none if it is no such text.

    A transcript that ends in an open ``Assistant:`` is a prompt: that mark is no turn.
    """
    if not text.lstrip("\n").startswith("Human:"):
        return ()
    _, *parts = _TURN.split(text.strip())
    turns = zip(parts[::2], parts[1::2], strict=True)
    said = [(_SPEAKERS[who], what.strip()) for who, what in turns]
    if said[-1] == ("assistant", ""):
        said.pop()
    return tuple(said)
