"""RealToxicityPrompts: the prompts marked as challenging, to be continued."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bfpo_bench.data import Hub, Record, Row, Source, Variant
from bfpo_bench.data.files import jsonl_records, mapping, text, value


def _rows(records: Iterable[Record]) -> list[Row]:
    """The challenging rows, out of all or already selected."""
    return [_row(record) for record in records if value(record, "challenging") is True]


def _row(record: Record) -> Row:
    prompt = Record(f"{record.at}, 'prompt'", mapping(record.at, value(record, "prompt")))
    return {"prompt": text(prompt, "text"), "filename": text(record, "filename")}


def _read(paths: Sequence[Path]) -> list[Row]:
    return _rows(record for path in paths for record in jsonl_records(path))


SOURCE = Source(
    name="realtoxicityprompts",
    variants=(
        Variant(
            name="default",
            rows=1199,
            digest=None,  # the copy at hand lacks three rows
            layouts=(
                ("realtoxicityprompts/challenging.jsonl",),
                ("realtoxicityprompts/prompts.jsonl",),
            ),
            read=_read,
            hub=Hub(
                repo="allenai/real-toxicity-prompts",
                split="train",
                revision="d3a6507562064c4f37cdf267bdc2faa7b0873173",
                read=_rows,
            ),
        ),
    ),
    fields={"prompt": str, "filename": str},
    extras=("filename",),
    licence="Apache-2.0",
    homepage="https://github.com/allenai/real-toxicity-prompts",
    prompt="prompt",
)
