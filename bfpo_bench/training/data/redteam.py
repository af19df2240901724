"""Red-team data (Section 4.3 of the paper): our own JSON lines, and the authors' files.

Our own format is a record as it is: ``prompt`` is a text or a list of messages, ``responses`` two
texts, ``safe`` two flags (null: the judge did not know), ``more_helpful`` is 0, 1 or null (not
known), and ``safer`` the same or missing. Further fields (category, judge, …) are not read.
"""

from __future__ import annotations

from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data.files import Record
from bfpo_bench.training.data.fields import (
    flag,
    make_record,
    messages,
    one_of,
    pair_of,
    plain,
    shown,
    value,
)
from bfpo_bench.training.data.preferences import PreferenceRecord

FIELDS = ("prompt", "responses", "safe", "more_helpful")
AUTHORS_FIELDS = (
    "prompt",
    "modeloutput1",
    "modeloutput2",
    "is_modelout1_safe",
    "is_modelout2_safe",
    "better_modelout",
)


def read_row(row: Record, source: str) -> PreferenceRecord:
    """A row of our own format."""
    prompt = value(row, "prompt")
    asked = (("user", prompt),) if isinstance(prompt, str) else messages(row, "prompt", prompt)
    first, second = pair_of(row, "responses")
    if not isinstance(first, str) or not isinstance(second, str):
        raise BadInput(
            f"{row.at}: 'responses' should be two texts, found {shown([first, second])}."
        )
    one, two = pair_of(row, "safe")
    return make_record(
        row,
        source,
        asked,
        (first, second),
        more_helpful=_which(row, "more_helpful"),
        safe=(_safe(row, one), _safe(row, two)),
        safer=_which(row, "safer") if "safer" in row.values else None,
    )


def write_row(record: PreferenceRecord) -> dict[str, Any]:
    """The row of our own format that :func:`read_row` makes the same record of."""
    return {
        "prompt": [{"role": role, "content": content} for role, content in record.prompt],
        "responses": list(record.responses),
        "safe": list(record.safe),
        "more_helpful": record.more_helpful,
        "safer": record.safer,
    }


def read_authors_row(row: Record, source: str) -> PreferenceRecord:
    """A row of the paper's authors' files, which count the responses from 1."""
    return make_record(
        row,
        source,
        (("user", plain(row, "prompt")),),
        (plain(row, "modeloutput1"), plain(row, "modeloutput2")),
        more_helpful=one_of(row, "better_modelout", (1, 2)),
        safe=(flag(row, "is_modelout1_safe"), flag(row, "is_modelout2_safe")),
    )


def _which(row: Record, name: str) -> int | None:
    return None if value(row, name) is None else one_of(row, name, (0, 1))


def _safe(row: Record, found: Any) -> bool | None:
    return None if found is None else flag(Record(row.at, {"safe": found}), "safe")
