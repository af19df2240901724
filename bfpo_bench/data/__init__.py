"""Where data comes from, pinned: what a source declares, and how its rows are had and checked.

    loaded = load_source(source, data_dir="data")
    loaded.rows[0]     # {"sentence": …, "option1": …, "option2": …, "answer": "2"}
    loaded.status      # "pinned": row count and digest are the expected ones

Rows are canonical: plain typed fields, the same whether they were read from the published files,
from a mirror or from the hub. The sources themselves are declared beside their tasks, in
:mod:`bfpo_bench.tasks`. See docs/data.md.
"""

from __future__ import annotations

from bfpo_bench.data.files import Record, from_csv, from_hub, from_jsonl
from bfpo_bench.data.hub import HubUnavailable, one_failure_is_enough
from bfpo_bench.data.load import OtherOption, find_data_dir, load_source, local_files
from bfpo_bench.data.source import Hub, Loaded, Row, Source, Status, Variant

__all__ = [
    "Hub",
    "HubUnavailable",
    "Loaded",
    "OtherOption",
    "Record",
    "Row",
    "Source",
    "Status",
    "Variant",
    "find_data_dir",
    "from_csv",
    "from_hub",
    "from_jsonl",
    "load_source",
    "local_files",
    "one_failure_is_enough",
]
