"""AlpacaEval: instructions, with the output of the model that is the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data import Hub, Record, Row, Source, Variant, from_hub
from bfpo_bench.data.files import mapping, read_json, text


def _row(record: Record) -> Row:
    return {
        "instruction": text(record, "instruction"),
        "dataset": text(record, "dataset"),
        "reference_output": text(record, "output"),
        "reference_model": text(record, "generator"),
        "constraint": "",
    }


def _read(paths: Sequence[Path]) -> list[Row]:
    """Rows of the reference model's ``model_outputs.json``, a JSON list."""
    rows = []
    for path in paths:
        items = read_json(path)
        if not isinstance(items, list):
            raise BadInput(
                f"{path}: expected a list, found {type(items).__name__}; fetch the file again."
            )
        for index, item in enumerate(items):
            at = f"{path}, item {index}"
            rows.append(_row(Record(at, mapping(at, item))))
    return rows


SOURCE = Source(
    name="alpaca_eval",
    variants=(
        Variant(
            name="default",
            rows=805,
            digest="92d50e7f238ed4c9d616ce7ba91dbf44360de2184cee473cca052e2bedc9a739",
            layouts=(("alpacaeval/results/gpt4_1106_preview/model_outputs.json",),),
            read=_read,
            # The repository holds a loading script too, so the file is opened by its address.
            hub=Hub(
                repo="tatsu-lab/alpaca_eval",
                split="eval",
                revision="2955709b93b0e08df511a752a3874b0a89b8910b",
                file="alpaca_eval_gpt4_baseline.json",
                builder="json",
                read=from_hub(_row),
            ),
        ),
    ),
    fields={
        "instruction": str,
        "dataset": str,
        "reference_output": str,
        "reference_model": str,
        "constraint": dict,  # bundled items only: what a response must fulfil, checkable
    },
    extras=("reference_output", "reference_model", "constraint"),
    licence="CC BY-NC 4.0",
    homepage="https://github.com/tatsu-lab/alpaca_eval",
    prompt="instruction",
    category="dataset",
)
