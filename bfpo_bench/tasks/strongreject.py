"""StrongREJECT: forbidden prompts that are specific enough to be answered usefully."""

from __future__ import annotations

from bfpo_bench.data import Record, Row
from bfpo_bench.data.files import text
from bfpo_bench.tasks.prompt_sets import prompt_set


def _row(record: Record) -> Row:
    return {"prompt": text(record, "forbidden_prompt"), "category": text(record, "category")}


def _hub_row(record: Record) -> Row:
    return {"prompt": text(record, "prompt"), "category": text(record, "category")}


SOURCE = prompt_set(
    *("strongreject", "strongreject/strongreject_dataset.csv", _row),
    # Behind a form: its terms must be accepted on the hub once.
    ("walledai/StrongREJECT", None, "train"),
    "MIT",
    "https://github.com/alexandrasouly/strongreject",
    rows=313,
    digest="9a15b7d7709c21c808cc8444f1ccb87db65199a110bef66090dcd14ddf809565",
    columns=("forbidden_prompt", "category"),
    hub_row=_hub_row,
    harmful=True,
)
