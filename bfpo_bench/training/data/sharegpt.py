"""Pairs in ShareGPT's way: ``from`` and ``value``, people are ``human`` and models ``gpt``."""

from __future__ import annotations

from bfpo_bench.data.files import Record
from bfpo_bench.training.data.asked import with_system
from bfpo_bench.training.data.fields import make_record, messages, value
from bfpo_bench.training.data.preferences import PreferenceRecord
from bfpo_bench.training.data.trl import answer, safety

FIELDS = ("conversations", "chosen", "rejected")


def read_row(row: Record, source: str) -> PreferenceRecord:
    """A row with a conversation, the chosen and the rejected message that could follow it.

    A ``system`` field beside the conversation is its first message, as LLaMA-Factory has it.
    """
    prompt = messages(row, "conversations", value(row, "conversations"))
    return make_record(
        row,
        source,
        with_system(row, prompt),
        (answer(row, "chosen"), answer(row, "rejected")),
        more_helpful=0,
        safe=safety(row),
    )
