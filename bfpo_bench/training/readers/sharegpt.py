"""Pairs in ShareGPT's way: ``from`` and ``value``, people are ``human`` and models ``gpt``."""

from __future__ import annotations

from bfpo_bench.errors import BadInput
from bfpo_bench.sources.records import Record
from bfpo_bench.training.readers.fields import make_record, messages, optional_flag, shown, value
from bfpo_bench.training.records import Messages, PreferenceRecord

FIELDS = ("conversations", "chosen", "rejected")
_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}


def read_row(row: Record, source: str) -> PreferenceRecord:
    """A row with a conversation, the chosen and the rejected message that could follow it.

    A ``system`` field beside the conversation is its first message, as LLaMA-Factory has it.
    """
    prompt = _said(row, "conversations", value(row, "conversations"))
    system = row.values.get("system")
    if isinstance(system, str) and system.strip():
        prompt = (("system", system), *prompt)
    return make_record(
        row,
        source,
        prompt,
        (_response(row, "chosen"), _response(row, "rejected")),
        more_helpful=0,
        safe=(optional_flag(row, "chosen_safe"), optional_flag(row, "rejected_safe")),
    )


def _response(row: Record, name: str) -> str:
    (who, text), *_ = _said(row, name, [value(row, name)])
    if who != "assistant":
        raise BadInput(f"{row.at}: {name!r} should be the model's message, found {shown(who)}'s.")
    return text


def _said(row: Record, name: str, found: object) -> Messages:
    return messages(row, name, found, role="from", content="value", roles=_ROLES)
