"""Preference pairs as TRL, LLaMA-Factory, orca_dpo_pairs and Argilla write them.

``chosen`` and ``rejected`` are texts or lists of messages, with the prompt in a field of its own
(see :mod:`.asked`) or as what both begin with. ``chosen_safe`` and ``rejected_safe`` (or
``is_chosen_safe`` and ``is_rejected_safe``) may say whether each response is safe.
"""

from __future__ import annotations

import re
from itertools import takewhile

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data.files import Record
from bfpo_bench.training.data.asked import PROMPTS, asked, has_prompt, transcript, with_system
from bfpo_bench.training.data.columns import is_metadata, peek
from bfpo_bench.training.data.fields import (
    make_record,
    messages,
    optional_flag,
    pair_of,
    plain,
    shown,
    value,
)
from bfpo_bench.training.data.preferences import Messages, PreferenceRecord

FIELDS = ("chosen", "rejected")
ARGILLA_FIELDS = ("chosen_response", "rejected_response")
OUTPUT_FIELDS = ("instruction", "output")


class NoPrompt(BadInput):
    """A row of responses alone."""


def read_row(row: Record, source: str) -> PreferenceRecord:
    """A row with ``chosen`` and ``rejected``; the chosen response is the more helpful one."""
    texts = [isinstance(value(row, name), str) for name in FIELDS]
    prompt, responses = _plain(row) if all(texts) else conversation(row)
    return _record(row, source, prompt, responses)


def read_argilla_row(row: Record, source: str) -> PreferenceRecord:
    """A row with ``chosen_response`` and ``rejected_response``, texts or messages."""
    chosen, rejected = (answer(row, name) for name in ARGILLA_FIELDS)
    return _record(row, source, asked(row), (chosen, rejected))


def read_output_row(row: Record, source: str) -> PreferenceRecord:
    """A row of LLaMA-Factory's older layout: ``output`` lists the better and the worse answer."""
    first, second = pair_of(row, "output")
    if not isinstance(first, str) or not isinstance(second, str):
        raise BadInput(
            f"{row.at}: 'output' should be two texts, the better one first, found "
            f"{shown([first, second])}."
        )
    return _record(row, source, asked(row), (first, second))


def _record(
    row: Record, source: str, prompt: Messages, responses: tuple[str, str]
) -> PreferenceRecord:
    return make_record(row, source, prompt, responses, more_helpful=0, safe=safety(row))


def safety(row: Record) -> tuple[bool | None, bool | None]:
    """Whether the chosen and the rejected response are safe, where the row says."""
    return (
        optional_flag(row, "chosen_safe", "is_chosen_safe"),
        optional_flag(row, "rejected_safe", "is_rejected_safe"),
    )


def answer(row: Record, name: str) -> str:
    """A response: a text, or the model's message by itself or alone in a list.

    Raises:
        BadInput: it is something else.
    """
    found = value(row, name)
    if isinstance(found, str):
        return found
    said = messages(row, name, found if isinstance(found, list) else [found])
    (who, text), *more = said
    if who != "assistant" or more:
        raise BadInput(
            f"{row.at}: {name!r} should be the model's message, found {len(said)} messages that "
            f"begin with the {who}'s."
        )
    return text


def conversation(row: Record) -> tuple[Messages, tuple[str, str]]:
    """Prompt and responses of lists of messages, the last of which is the response."""
    if any(isinstance(value(row, name), str | dict) for name in FIELDS):
        return asked(row), (answer(row, "chosen"), answer(row, "rejected"))
    chosen = messages(row, "chosen", value(row, "chosen"))
    rejected = messages(row, "rejected", value(row, "rejected"))
    return _split(row, chosen, rejected)


def _plain(row: Record) -> tuple[Messages, tuple[str, str]]:
    chosen, rejected = plain(row, "chosen"), plain(row, "rejected")
    turns = transcript(chosen), transcript(rejected)
    if turns[0] and turns[1]:
        return _split(row, turns[0], turns[1])
    if has_prompt(row):
        return asked(row), (chosen, rejected)
    other = _other_text(row)
    start = _common(chosen, rejected)
    if other is not None or len(chosen[:start].split()) < 2:
        why = (
            f"and field {other!r} is none that holds one"
            if other is not None
            else "and 'chosen' and 'rejected' do not begin alike"
        )
        raise NoPrompt(
            f"{row.at}: there is no prompt: no field {', '.join(map(repr, PROMPTS[:-1]))} or "
            f"{PROMPTS[-1]!r}, {why}."
        )
    return (("user", chosen[:start]),), (chosen[start:], rejected[start:])


_WORD = re.compile(r"\w+(?:[.,:'’-]\w+)*")


def _common(one: str, two: str) -> int:
    """Characters that two texts begin with alike, up to the end of a word in both.

    As TRL has it, a blank before the first difference belongs to the responses.
    """
    start = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))
    cut = [word.start() for t in (one, two) for word in _WORD.finditer(t) if _cuts(word, start)]
    start = min((start, *cut))
    return start - one[:start].endswith(" ")


def _cuts(word: re.Match[str], at: int) -> bool:
    return word.start() < at < word.end()


def _other_text(row: Record) -> str | None:
    """The first column with a text that is neither a response nor about the row."""
    others = (
        name
        for name, found in row.values.items()
        if isinstance(found, str) and found.strip()
        if name not in FIELDS and not is_metadata(name, responses=True)
    )
    return next(others, None)


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
        return asked(row), responses
    said = with_system(row, before)
    if isinstance(peek(row, "prompt"), list) and asked(row) != said:
        raise BadInput(
            f"{row.at}: 'chosen' and 'rejected' should be one message after 'prompt', or the "
            "whole conversation that begins with it; tool calls cannot be trained on."
        )
    return said, responses
