"""A benchmark of somebody's own: is the sum right?"""

from pathlib import Path
from typing import Any

from bfpo_bench.data import Record, Source, Variant, from_jsonl
from bfpo_bench.data.files import integer, text
from bfpo_bench.tasks.rows import RowsOf

FILE = str(Path(__file__).with_name("sums.jsonl"))


def _row(record: Record) -> dict[str, Any]:
    said = text(record, "sum")
    return {"sum": said, "right": integer(record, "right"), "group": said[0]}


SOURCE = Source(
    name="sums",
    variants=(Variant("default", 4, None, ((FILE,),), from_jsonl(_row)),),
    fields={"sum": str, "right": int, "group": str},
    licence="CC0",
    homepage="https://example.org/sums",
)
rows = RowsOf(SOURCE)


def prompt(row: dict[str, Any]) -> str:
    """What the model is asked."""
    return f"Is {row['sum']} right?\nAnswer:"
