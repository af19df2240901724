"""UltraFeedback binarized: the response that GPT-4 scored higher, and one of the others."""

from __future__ import annotations

from bfpo_bench.data.files import Record
from bfpo_bench.training.data import trl
from bfpo_bench.training.data.fields import make_record
from bfpo_bench.training.data.preferences import PreferenceRecord

FIELDS = ("prompt", "prompt_id", "chosen", "rejected", "score_chosen", "score_rejected")


def read_row(row: Record, source: str) -> PreferenceRecord:
    """A row of HuggingFaceH4/ultrafeedback_binarized; all its responses count as safe (paper)."""
    row.values.get("messages")  # the chosen conversation once more, for fine-tuning
    prompt, responses = trl.conversation(row)
    return make_record(row, source, prompt, responses, more_helpful=0, safe=(True, True))
