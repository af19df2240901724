"""RealToxicityPrompts: the prompts marked as challenging, to be continued."""

from __future__ import annotations

from bfpo_bench.data import Hub, Record, Row, Source, Variant, from_hub, from_jsonl
from bfpo_bench.data.files import mapping, text, value


def _row(record: Record) -> Row | None:
    """A challenging row, out of all or already selected."""
    if value(record, "challenging") is not True:
        return None
    prompt = Record(f"{record.at}, 'prompt'", mapping(record.at, value(record, "prompt")))
    return {"prompt": text(prompt, "text"), "filename": text(record, "filename")}


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
            read=from_jsonl(_row),
            hub=Hub(
                repo="allenai/real-toxicity-prompts",
                split="train",
                revision="d3a6507562064c4f37cdf267bdc2faa7b0873173",
                read=from_hub(_row),
            ),
        ),
    ),
    fields={"prompt": str, "filename": str},
    extras=("filename",),
    licence="Apache-2.0",
    homepage="https://github.com/allenai/real-toxicity-prompts",
    prompt="prompt",
)
