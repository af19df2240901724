"""OR-Bench-Hard-1K: benign prompts that several large models refuse."""

from __future__ import annotations

from bfpo_bench.data import Record, Row
from bfpo_bench.data.files import text
from bfpo_bench.tasks.prompt_sets import prompt_set


def _row(record: Record) -> Row:
    return {"prompt": text(record, "prompt"), "category": text(record, "category")}


# No copy was at hand to compute a digest of; columns and file name are those of its card.
HARD = prompt_set(
    *("or_bench_hard", "or_bench/or-bench-hard-1k.csv", _row),
    ("bench-llm/or-bench", "or-bench-hard-1k", "train"),
    "CC BY 4.0",
    "https://huggingface.co/datasets/bench-llm/or-bench",
    rows=1319,
    columns=("prompt", "category"),
)
