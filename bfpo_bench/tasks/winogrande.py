"""WinoGrande: which option fills the blank?

Partial scoring: the sentence up to the filled blank varies, and what follows the blank is scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data import Hub, Record, Row, Source, Variant, from_hub, from_jsonl
from bfpo_bench.data.files import text

_FIELDS = ("sentence", "option1", "option2", "answer")


def _row(record: Record) -> Row:
    """The sentence has a blank ``_`` and the answer is the option's number."""
    row = {name: text(record, name) for name in _FIELDS}
    if row["answer"] not in ("1", "2") or "_" not in row["sentence"]:
        raise BadInput(
            f"{record.at}: expected a sentence with a blank '_' and the answer '1' or '2', found "
            f"the answer {row['answer']!r}."
        )
    return row


SOURCE = Source(
    name="winogrande",
    variants=(
        Variant(
            name="default",
            rows=1267,
            digest="d1e5bb9db92c3d5c6142547d6290b2047949c2145138965938bebb221092a7eb",
            layouts=(("winogrande/winogrande_xl_validation.jsonl",), ("winogrande/dev.jsonl",)),
            read=from_jsonl(_row),
            hub=Hub("allenai/winogrande", "validation", from_hub(_row), config="winogrande_xl"),
        ),
    ),
    fields=dict.fromkeys(_FIELDS, str),
    licence="CC BY",
    homepage="https://github.com/allenai/winogrande",
)


def answer(row: Mapping[str, Any]) -> int:
    """Index of the right option. An int as ``doc_to_text`` tells lm-eval that the choices are
    contexts."""
    return int(row["answer"]) - 1


def contexts(row: Mapping[str, Any]) -> list[str]:
    """The sentence up to and with the filled blank, for each option."""
    before, _, _ = row["sentence"].partition("_")
    return [before + row["option1"], before + row["option2"]]


def continuation(row: Mapping[str, Any]) -> str:
    """What follows the blank, the same for both options."""
    _, _, after = row["sentence"].partition("_")
    return str(after.strip())
