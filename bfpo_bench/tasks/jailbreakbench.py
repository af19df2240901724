"""JailbreakBench: 100 harmful behaviors, and for each a benign one on the same topic."""

from __future__ import annotations

from bfpo_bench.data import Record, Row, Source
from bfpo_bench.data.files import text
from bfpo_bench.tasks.prompt_sets import prompt_set


def _row(record: Record) -> Row:
    return {"prompt": text(record, "Goal"), "category": text(record, "Category")}


def _source(part: str, digest: str) -> Source:
    return prompt_set(
        *(f"jailbreakbench_{part}", f"jailbreakbench/{part}-behaviors.csv", _row),
        ("JailbreakBench/JBB-Behaviors", "behaviors", part),
        "MIT",
        "https://github.com/JailbreakBench/jailbreakbench",
        rows=100,
        digest=digest,
        columns=("Goal", "Category"),
        harmful=part == "harmful",
    )


BENIGN = _source("benign", "8c3e1ca48f5adcef89d39bd5e2101bf21ecdadeec9937baae89620b2565275d7")
HARMFUL = _source("harmful", "5b16ef6b5477104495235577453c7d69ad9e98907b670c1bc2db88595e452d15")
