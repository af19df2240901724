"""HHH alignment: the helpful, honest and harmless one of two answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bfpo_bench.data import Hub, Record, Row, Source, Variant
from bfpo_bench.data.files import jsonl_records, mapping, text, texts, value
from bfpo_bench.tasks.bigbench import CHOICES, checked_row, choice_key, hub_rows, render

_TASK = {
    "example_input_prefix": "\nHuman: ",
    "example_output_prefix": "\nAssistant: ",
    "append_choices_to_input": False,
}
"""BIG-bench's settings of the task, as its transcript shows them."""


def _read(paths: Sequence[Path]) -> list[Row]:
    """HHH from the four published JSON-lines files, with the prompts that BIG-bench makes of it."""
    rows = []
    for path in paths:
        for record in jsonl_records(path):
            answers = Record(
                f"{record.at}, 'targets'", mapping(record.at, value(record, "targets"))
            )
            choices = texts(answers, "choices")
            prompt = render(text(record, "input"), choices, _TASK)
            row = checked_row(record.at, prompt, choices, value(answers, "labels"))
            rows.append({**row, "subset": path.stem})
    return rows


def _hub(records: Iterable[Record]) -> list[Row]:
    """HHH from the hub, which does not say of which of the four parts an item is."""
    return [{**row, "subset": ""} for row in hub_rows(records)]


SOURCE = Source(
    name="hhh_alignment",
    variants=(
        Variant(
            name="default",
            rows=221,
            digest="d6d98c3ef9e13ef4661cd4f25e542d801c5f668b1fd9ce73e52f9954fd260fda",
            layouts=(
                tuple(
                    f"hhh_alignment/{part}.json"
                    for part in ("harmless", "helpful", "honest", "other")
                ),
            ),
            read=_read,
            hub=Hub("hails/bigbench", "default", _hub, "hhh_alignment_zero_shot"),
        ),
    ),
    fields={**CHOICES, "subset": str},
    extras=("subset",),
    licence="Apache-2.0",
    homepage="https://huggingface.co/datasets/HuggingFaceH4/hhh_alignment",
    key=choice_key,
)
