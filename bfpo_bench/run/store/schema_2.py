"""Stores of schema 2 (December 2026), whose verdicts say nothing about refusals."""

from __future__ import annotations

import sqlite3

from bfpo_bench.run.store.schema import SCHEMA_VERSION


def show(db: sqlite3.Connection) -> None:
    """Puts a view of today's shape before the verdicts of an open store; writes nothing to it."""
    db.execute("PRAGMA temp_store=MEMORY")
    db.execute(
        "CREATE TEMP VIEW verdicts AS SELECT key, judge, task, item, harmful, p_harmful, raw, "
        "NULL AS refusal, NULL AS p_refusal FROM main.verdicts"
    )


def migrate(db: sqlite3.Connection) -> None:
    """Makes a store of schema 2 into one of today's, inside the caller's transaction."""
    for column in ("refusal TEXT", "p_refusal REAL"):
        db.execute(f"ALTER TABLE verdicts ADD COLUMN {column}")
    db.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA_VERSION),))
