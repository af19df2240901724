"""MultiJail: the same harmful prompts in ten languages, translated by hand."""

from __future__ import annotations

from bfpo_bench.data import Hub, Record, Row, Source, Variant, from_csv, from_hub
from bfpo_bench.data.files import text

LANGUAGES = ("en", "zh", "it", "vi", "ar", "ko", "th", "bn", "sw", "jv")
"""A column each, from those of many resources to those of few; a task asks one of them."""


def _row(record: Record) -> Row:
    # A list as Python writes it, e.g. "['Theft']"; a prompt has one to four of them.
    return {**{name: text(record, name) for name in LANGUAGES}, "tags": text(record, "tags")}


SOURCE = Source(
    name="multijail",
    variants=(
        Variant(
            name="default",
            rows=315,
            digest="0e37c9104104450e55a63bc530f29ed198045cda39bea4bd26b24cafc20d1383",
            layouts=(("multijail/MultiJail.csv",),),
            read=from_csv(_row, *LANGUAGES, "tags"),
            hub=Hub("DAMO-NLP-SG/MultiJail", "train", from_hub(_row)),
        ),
    ),
    fields=dict.fromkeys((*LANGUAGES, "tags"), str),
    extras=("tags",),
    licence="MIT",
    homepage="https://github.com/DAMO-NLP-SG/multilingual-safety-for-LLMs",
    prompt="en",
    category="tags",
)
