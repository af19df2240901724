"""The data, pinned: where each data set comes from, and proof that it is the right one.

    loaded = sources.load("winogrande", data_dir="data")
    loaded.rows[0]     # {"sentence": …, "option1": …, "option2": …, "answer": "2"}
    loaded.status      # "pinned": row count and digest are the expected ones

Rows are canonical: plain typed fields, the same whether they were read from the published files,
from a mirror or from the hub. See docs/data.md.
"""

from __future__ import annotations

from bfpo_bench.data.declared import SOURCES
from bfpo_bench.data.hub import HubUnavailable
from bfpo_bench.data.resolve import (
    find_data_dir,
    find_source,
    find_variant,
    item_ids,
    load,
    local_files,
    names,
)
from bfpo_bench.data.source import Hub, Loaded, Row, Source, Status, Variant

__all__ = [
    "SOURCES",
    "Hub",
    "HubUnavailable",
    "Loaded",
    "Row",
    "Source",
    "Status",
    "Variant",
    "find_data_dir",
    "find_source",
    "find_variant",
    "item_ids",
    "load",
    "local_files",
    "names",
]
