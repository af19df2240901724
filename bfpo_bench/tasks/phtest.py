"""PHTest: pseudo-harmful prompts, those that are harmless and those that one may argue about."""

from __future__ import annotations

from bfpo_bench.data import Record, Row, Source
from bfpo_bench.data.files import text
from bfpo_bench.tasks.prompt_sets import prompt_set


def _source(label: str) -> Source:
    def row(record: Record) -> Row | None:
        if text(record, "Harmfulness") != label:
            return None
        return {"prompt": text(record, "Request"), "category": label}

    # No copy was at hand: 3,269 rows in all are known of, and not how many have which label.
    return prompt_set(
        *(f"phtest_{label}", "phtest/PHTest.csv", row),
        ("furonghuang-lab/PHTest", None, "train"),
        "MIT",
        "https://huggingface.co/datasets/furonghuang-lab/PHTest",
        columns=("Request", "Harmfulness"),
    )


HARMLESS = _source("harmless")
CONTROVERSIAL = _source("controversial")
