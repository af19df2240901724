"""The documents of the file formats name everything that is in the files."""

from __future__ import annotations

import sqlite3
from dataclasses import fields
from pathlib import Path

from bfpo_bench.common.sampling import Sampling
from bfpo_bench.run import results, run_json, store
from bfpo_bench.run.average import Average
from bfpo_bench.run.results import Results, TaskResult
from bfpo_bench.run.store import Store

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_results_document(tmp_path: Path) -> None:
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    for kind in (Results, TaskResult, Average, Sampling):
        for field in fields(kind):
            assert f"`{field.name}`" in text, f"{kind.__name__}.{field.name}"
    Store(tmp_path / "s.sqlite").close()
    with sqlite3.connect(tmp_path / "s.sqlite") as db:
        tables = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        for table in tables:
            assert f"**`{table}`**" in text
            section = text.split(f"**`{table}`**")[1].split("\n**`")[0].split("\n## ")[0]
            for row in db.execute(f"PRAGMA table_info({table})"):
                assert f"`{row[1]}`" in section, f"{table}.{row[1]}"
    db.close()


def test_results_document_states_the_schema_versions() -> None:
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    assert (results.SCHEMA_VERSION, run_json.SCHEMA_VERSION, store.SCHEMA_VERSION) == (1, 2, 3)
    assert "1 now for `results.json`, 2 for `run.json`, 3 for `samples.sqlite`" in text
