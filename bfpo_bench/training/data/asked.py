"""What a row asks, from whichever of the known columns hold it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data.files import Record
from bfpo_bench.training.data.fields import messages, plain, shown
from bfpo_bench.training.data.preferences import Messages

TALKS = ("messages", "conversations")
"""Columns that hold a conversation: UltraChat's and ShareGPT's."""

PROMPTS = ("prompt", "instruction", "question", "query", "input", *TALKS)
"""Columns that hold a prompt, in the order in which they are looked for: TRL's, LLaMA-Factory's and
Alpaca's, orca_dpo_pairs', and conversations."""

MORE = ("input", "context")
"""What may stand beside ``instruction``: LLaMA-Factory's and Alpaca's input, Dolly's context."""

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
