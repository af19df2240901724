"""PKU-SafeRLHF: two responses, each judged for safety, and compared twice."""

from __future__ import annotations

from bfpo_bench.data.files import Record
from bfpo_bench.training.data.fields import flag, make_record, one_of, plain
from bfpo_bench.training.data.preferences import PreferenceRecord

FIELDS = (
    "prompt",
    "response_0",
    "response_1",
    "is_response_0_safe",
    "is_response_1_safe",
    "better_response_id",
    "safer_response_id",
)


def read_row(row: Record, source: str) -> PreferenceRecord:
    """A row of PKU-Alignment/PKU-SafeRLHF; ``better_response_id`` is the more helpful response."""
    return make_record(
        row,
        source,
        (("user", plain(row, "prompt")),),
        (plain(row, "response_0"), plain(row, "response_1")),
        more_helpful=one_of(row, "better_response_id", (0, 1)),
        safe=(flag(row, "is_response_0_safe"), flag(row, "is_response_1_safe")),
        safer=one_of(row, "safer_response_id", (0, 1)),
    )
