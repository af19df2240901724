"""Every known layout of preference data, told by its columns; docs/preferences.md lists them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data.files import Record
from bfpo_bench.training.data.columns import is_metadata
from bfpo_bench.training.data.fields import (
    PROMPTS,
    answered,
    asked,
    check_texts,
    flag,
    has_prompt,
    messages,
    one_of,
    optional_flag,
    pair_of,
    plain,
    shown,
    transcript,
    value,
    with_system,
)
from bfpo_bench.training.data.preferences import Messages, PreferenceRecord
from bfpo_bench.training.data.segments import COLUMN

PAIR = ("chosen", "rejected")

Talk = tuple[Messages, tuple[str, str]]
"""A prompt and the responses to it, the chosen one first."""


class NoPrompt(BadInput):
    """A row of responses alone."""


class Format(NamedTuple):
    """How one kind of preference data is written.

    Attributes:
        fields: those by which a row is told to be of this format.
        read: makes the record of a row for a set's name, or raises a BadInput.
    """

    fields: tuple[str, ...]
    read: Callable[[Record, str], PreferenceRecord]


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
    _check_talk(row, prompt, responses)
    if responses[0].strip() == responses[1].strip():
        raise BadInput(f"{row.at}: the two responses are identical, so none is to be preferred.")
    if safer is None and None not in safe and safe[0] != safe[1]:
        safer = int(safe[1] is True)
    return PreferenceRecord(prompt, responses, more_helpful, safe, safer, source, row.at)


def _check_talk(row: Record, prompt: Messages, responses: Sequence[str]) -> None:
    if not prompt or prompt[-1][0] != "user":
        last = repr(prompt[-1][0]) if prompt else "nothing"
        raise BadInput(f"{row.at}: the prompt should end in the user's turn, it ends in {last}.")
    if not prompt[-1][1].strip():
        raise BadInput(f"{row.at}: the user's last message is empty.")
    if not all(text.strip() for text in responses):
        raise BadInput(f"{row.at}: a response is empty.")
    check_texts(row, [*(content for _, content in prompt), *responses])


def _unpaired(label: str, *fields: str) -> Format:
    """A prompt with one response, and whether that is desirable; ``safe`` may tell of its safety.

    Args:
        label: the column that says so.
        fields: the others that such a row has.
    """

    def read(row: Record, source: str) -> PreferenceRecord:
        *prompt, (_, response) = answered(row)
        _check_talk(row, tuple(prompt), [response])
        undesirable = int(not flag(row, label))
        safe = optional_flag(row, "safe", "is_safe")
        safer = None if safe is None else int(not safe)
        return PreferenceRecord(
            tuple(prompt), (response, ""), undesirable, (safe, None), safer, source, row.at
        )

    return Format((*fields, label), read)


def _numbered(first: int, *fields: str) -> Format:
    """Columns of the prompt, two responses, the safety of each, the number of the more helpful one.

    Args:
        first: the first response's number.
        fields: in that order; the number of the safer one may follow.
    """
    prompt, one, two, one_safe, two_safe, better, *safer = fields
    numbers = (first, first + 1)

    def read(row: Record, source: str) -> PreferenceRecord:
        return make_record(
            row,
            source,
            (("user", plain(row, prompt)),),
            (plain(row, one), plain(row, two)),
            more_helpful=one_of(row, better, numbers),
            safe=(flag(row, one_safe), flag(row, two_safe)),
            safer=one_of(row, safer[0], numbers) if safer else None,
        )

    return Format(fields, read)


def _read_own(row: Record, source: str) -> PreferenceRecord:
    """Our own format, which ``redteam`` writes: a record as it is.

    ``prompt`` is a text or a list of messages, ``responses`` two texts, ``safe`` two flags (null:
    the judge did not know), ``more_helpful`` 0, 1 or null (not known), ``safer`` the same or
    missing. Further fields (category, judge, …) are not read.
    """
    prompt = value(row, "prompt")

    def which(name: str) -> int | None:
        return None if value(row, name) is None else one_of(row, name, (0, 1))

    def safe(found: Any) -> bool | None:
        return None if found is None else flag(Record(row.at, {"safe": found}), "safe")

    said = (("user", prompt),) if isinstance(prompt, str) else messages(row, "prompt", prompt)
    responses = _two_texts(row, "responses", "'responses' should be two texts")
    one, two = pair_of(row, "safe")
    return make_record(
        row,
        source,
        said,
        responses,
        more_helpful=which("more_helpful"),
        safe=(safe(one), safe(two)),
        safer=which("safer") if "safer" in row.values else None,
    )


def write_row(record: PreferenceRecord) -> dict[str, Any]:
    """The row of our own format that is read as the same record."""
    weights = {COLUMN: list(record.weights)} if any(record.weights) else {}
    return {
        "prompt": [{"role": role, "content": content} for role, content in record.prompt],
        "responses": list(record.responses),
        "safe": list(record.safe),
        "more_helpful": record.more_helpful,
        "safer": record.safer,
        **weights,
    }


def _two_texts(row: Record, name: str, asks: str) -> tuple[str, str]:
    first, second = pair_of(row, name)
    if not isinstance(first, str) or not isinstance(second, str):
        raise BadInput(f"{row.at}: {asks}, found {shown([first, second])}.")
    return first, second


def _preferred(
    fields: tuple[str, ...], split: Callable[[Record], Talk], all_safe: bool = False
) -> Format:
    """A prompt with a chosen and a rejected response; the chosen one is the more helpful one.

    Where a row says whether each is safe, it does so under ``chosen_safe`` and ``rejected_safe``,
    or ``is_chosen_safe`` and ``is_rejected_safe``.
    """

    def read(row: Record, source: str) -> PreferenceRecord:
        prompt, responses = split(row)
        safe: tuple[bool | None, bool | None] = (True, True)
        if not all_safe:
            chosen, rejected = (optional_flag(row, f"{one}_safe", f"is_{one}_safe") for one in PAIR)
            safe = chosen, rejected
        return make_record(row, source, prompt, responses, more_helpful=0, safe=safe)

    return Format(fields, read)


def _answers(row: Record, *names: str) -> tuple[str, str]:
    """Two responses: texts, or the model's message by itself or alone in a list."""
    found = []
    for name in names or PAIR:
        text = value(row, name)
        if not isinstance(text, str):
            said = messages(row, name, text if isinstance(text, list) else [text])
            (who, text), *more = said
            if who != "assistant" or more:
                raise BadInput(
                    f"{row.at}: {name!r} should be the model's message, found {len(said)} messages "
                    f"that begin with the {who}'s."
                )
        found.append(text)
    return found[0], found[1]


def _ultrafeedback(row: Record) -> Talk:
    row.values.get("messages")  # the chosen conversation once more, for fine-tuning
    return _messages(row)


def _sharegpt(row: Record) -> Talk:
    """A conversation, and the message of each kind that could follow it.

    A ``system`` field beside it is its first message, as LLaMA-Factory has it.
    """
    prompt = messages(row, "conversations", value(row, "conversations"))
    return with_system(row, prompt), _answers(row)


def _argilla(row: Record) -> Talk:
    responses = _answers(row, "chosen_response", "rejected_response")
    return asked(row), responses


def _output(row: Record) -> Talk:
    """LLaMA-Factory's older layout: ``output`` lists the better and the worse answer."""
    responses = _two_texts(row, "output", "'output' should be two texts, the better one first")
    return asked(row), responses


def _trl(row: Record) -> Talk:
    """Texts or lists of messages, with the prompt in a column or as what both begin with."""
    return (
        _texts(row) if all(isinstance(value(row, name), str) for name in PAIR) else _messages(row)
    )


def _messages(row: Record) -> Talk:
    """Lists of messages, the last of which is the response."""
    if any(isinstance(value(row, name), str | dict) for name in PAIR):
        return asked(row), _answers(row)
    chosen = messages(row, "chosen", value(row, "chosen"))
    return _split(row, chosen, messages(row, "rejected", value(row, "rejected")))


def _texts(row: Record) -> Talk:
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
        if name not in PAIR and not is_metadata(name, responses=True)
    )
    return next(others, None)


def _split(row: Record, chosen: Messages, rejected: Messages) -> Talk:
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
    if isinstance(dict(row.values.items()).get("prompt"), list) and asked(row) != said:
        raise BadInput(
            f"{row.at}: 'chosen' and 'rejected' should be one message after 'prompt', or the "
            "whole conversation that begins with it; tool calls cannot be trained on."
        )
    return said, responses


FORMATS: Mapping[str, Format] = {
    "pku-saferlhf": _numbered(
        0,
        *("prompt", "response_0", "response_1", "is_response_0_safe", "is_response_1_safe"),
        *("better_response_id", "safer_response_id"),
    ),
    "ultrafeedback": _preferred(
        ("prompt", "prompt_id", *PAIR, "score_chosen", "score_rejected"),
        _ultrafeedback,
        all_safe=True,  # as the paper has it
    ),
    "redteam": Format(("prompt", "responses", "safe", "more_helpful"), _read_own),
    "redteam-authors": _numbered(
        1,
        *("prompt", "modeloutput1", "modeloutput2", "is_modelout1_safe", "is_modelout2_safe"),
        "better_modelout",
    ),
    "llama-factory-kto": _unpaired("kto_tag"),
    "sharegpt": _preferred(("conversations", *PAIR), _sharegpt),
    "argilla": _preferred(("chosen_response", "rejected_response"), _argilla),
    "orca": _preferred(("question", *PAIR), _trl),
    "llama-factory": _preferred(("instruction", *PAIR), _trl),
    "llama-factory-output": _preferred(("instruction", "output"), _output),
    "trl": _preferred(PAIR, _trl),
    "trl-unpaired": _unpaired("label", "completion"),
}
"""In the order in which they are tried: of pairs ``trl``, whose fields others have too, comes last.
"""
