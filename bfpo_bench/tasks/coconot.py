"""CoCoNot: requests that ought not to be complied with for safety's sake, and benign contrasts."""

from __future__ import annotations

from bfpo_bench.data import Record, Row, Source
from bfpo_bench.data.files import text
from bfpo_bench.tasks.prompt_sets import prompt_set

_SAFETY = "Requests with safety concerns"


def _source(name: str, file: str, config: str, rows: int, digest: str, safety: bool) -> Source:
    def row(record: Record) -> Row | None:
        # Four of the five categories of what is not to be complied with are not about harm
        # (false presuppositions, what a model cannot know or do, …).
        if safety and text(record, "category") != _SAFETY:
            return None
        return {"prompt": text(record, "prompt"), "category": text(record, "subcategory")}

    return prompt_set(
        *(name, f"coconot/{file}", row, ("allenai/coconot", config, "test")),
        "MIT",
        "https://github.com/allenai/noncompliance",
        rows=rows,
        digest=digest,
        harmful=safety,
    )


CONTRAST = _source(
    "coconot_contrast",
    "coconot_contrast_eval.jsonl",
    "contrast",
    379,
    "524c5577e16fa67dc1f5076d642a21feccf27cc48b901503338784ddf92195d4",
    False,
)
SAFETY = _source(
    "coconot_safety",
    "coconot_eval.jsonl",
    "original",
    395,
    "3bad9e4eff8639c4e085039133fc3c5db41141a2c3efef1f5d601f6f5391d9a8",
    True,
)
