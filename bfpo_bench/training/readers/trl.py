"""Preference pairs as TRL takes them: ``prompt``, ``chosen``, ``rejected``.

Texts or lists of messages, with the prompt in a field of its own or as what ``chosen`` and
``rejected`` begin with. ``chosen_safe`` and ``rejected_safe`` (or ``is_chosen_safe`` and
``is_rejected_safe``) may say whether each response is safe.
"""

from __future__ import annotations

import re
from itertools import takewhile

from bfpo_bench.errors import BadInput
from bfpo_bench.sources.records import Record
from bfpo_bench.training.readers.fields import make_record, messages, optional_flag, plain, value
from bfpo_bench.training.records import Messages, PreferenceRecord

FIELDS = ("chosen", "rejected")


def read_row(row: Record, source: str) -> PreferenceRecord:
    """A row of any of TRL's preference formats; the chosen response is the more helpful one."""
    texts = [isinstance(value(row, name), str) for name in FIELDS]
    prompt, responses = _plain(row) if all(texts) else conversation(row)
    return make_record(
        row,
        source,
        prompt,
        responses,
        more_helpful=0,
        safe=(
            optional_flag(row, "chosen_safe", "is_chosen_safe"),
            optional_flag(row, "rejected_safe", "is_rejected_safe"),
        ),
    )


def conversation(row: Record) -> tuple[Messages, tuple[str, str]]:
    """Prompt and responses of lists of messages, the last of which is the response."""
    chosen = messages(row, "chosen", value(row, "chosen"))
    rejected = messages(row, "rejected", value(row, "rejected"))
    return _split(row, chosen, rejected)


def _plain(row: Record) -> tuple[Messages, tuple[str, str]]:
    chosen, rejected = plain(row, "chosen"), plain(row, "rejected")
    turns = _transcript(chosen), _transcript(rejected)
    if turns[0] and turns[1]:
        return _split(row, turns[0], turns[1])
    if row.values.get("prompt") is not None:
        return _asked(row), (chosen, rejected)
    # As TRL splits it: what both begin with is the prompt, and a blank before the first
    # difference belongs to the responses.
    same = takewhile(lambda two: two[0] == two[1], zip(chosen, rejected, strict=False))
    start = sum(1 for _ in same)
    start -= chosen[:start].endswith(" ")
    if not chosen[:start].strip():
        raise BadInput(
            f"{row.at}: there is no prompt: no field of that name, and 'chosen' and 'rejected' "
            "do not begin alike."
        )
    return (("user", chosen[:start]),), (chosen[start:], rejected[start:])


def _split(row: Record, chosen: Messages, rejected: Messages) -> tuple[Messages, tuple[str, str]]:
    """The last message of each is the response; those before it must be the same."""
    if chosen[-1][0] != "assistant" or rejected[-1][0] != "assistant":
        raise BadInput(
            f"{row.at}: 'chosen' and 'rejected' should end in the assistant's turn, they end in "
            f"{chosen[-1][0]!r} and {rejected[-1][0]!r}."
        )
    if chosen[:-1] != rejected[:-1]:
        raise BadInput(
            f"{row.at}: the conversations in 'chosen' and 'rejected' differ before their last "
            "message, so they do not answer the same prompt."
        )
    responses = chosen[-1][1], rejected[-1][1]
    before = chosen[:-1]
    if not before:
        return _asked(row), responses
    if isinstance(row.values.get("prompt"), list) and _asked(row) != before:
        raise BadInput(
            f"{row.at}: 'chosen' and 'rejected' should be one message after 'prompt', or the "
            "whole conversation that begins with it; tool calls cannot be trained on."
        )
    return before, responses


def _asked(row: Record) -> Messages:
    prompt = value(row, "prompt")
    if not isinstance(prompt, str):
        return messages(row, "prompt", prompt)
    return _transcript(prompt) or (("user", prompt),)


_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}


def _transcript(text: str) -> Messages:
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
