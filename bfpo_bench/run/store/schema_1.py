"""Stores of schema 1 (before December 2026): shown as what they would be now, or made into it.

There an answer was known by its hash alone, a verdict pointed at a response's hash, and one
annotator's name could stand for several ways of asking.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter

from bfpo_bench.run.store.schema import ASKED, SCHEMA_VERSION, statements

_EMPTY = "CASE WHEN TRIM(response, char(9, 10, 13, 32)) = '' THEN 'empty' END"
_SHOWN = {
    "responses": f"""
        SELECT key, task, item, prompt, question, response, finish, seed, prompt_tokens, tokens,
        cut_tokens, NULL AS thought, {_EMPTY} AS no_answer FROM main.{{}}""",
    "verdicts": """
        SELECT v.key, v.judge, r.task, r.item, v.harmful, v.p_harmful, v.raw,
        NULL AS refusal, NULL AS p_refusal
        FROM main.{} v JOIN main.responses r ON r.key = v.response_key""",
    "rankings": """
        SELECT k.key, k.ranker, r.task, r.item AS first, s.item AS second, k.preference, k.raw
        FROM main.{} k JOIN main.responses r ON r.key = k.first
        JOIN main.responses s ON s.key = k.second""",
    "annotations": """
        SELECT a.key, name_of(a.annotator, a.settings) AS annotator, r.task, r.item, a.preference,
        a.raw, a.settings
        FROM main.{} a JOIN main.responses r ON r.key = a.response_key""",
}
"""What each table of today holds of the tables of then; braces stand for the table's name there."""


def show(db: sqlite3.Connection) -> None:
    """Puts views of today's shape before the tables of an open store; writes nothing to it."""
    db.execute("PRAGMA temp_store=MEMORY")
    _name_annotators(db)
    for table, query in _SHOWN.items():
        if _has(db, table):
            db.execute(f"CREATE TEMP VIEW {table} AS {query.format(table)}")
        else:  # annotations came later than the rest
            db.execute(
                f"CREATE TEMP TABLE {table} (key, annotator, task, item, preference, raw, s)"
            )


def migrate(db: sqlite3.Connection) -> tuple[str, str] | None:
    """Makes a store of schema 1 into one of today's, inside the caller's transaction.

    Of several verdicts of one judge (or ranker) on the same, none is kept: their cards differed,
    and nobody knows which counts.

    Returns:
        Task and item of which several answers are there, asked differently, so that the caller has
        to give up; None where all went well.
    """
    for table in ("scores", "responses"):
        columns = ", ".join(ASKED[table])
        query = f"SELECT task, item FROM {table} GROUP BY {columns} HAVING COUNT(*) > 1 LIMIT 1"
        for task, item in db.execute(query):
            return str(task), str(item)
    _name_annotators(db)
    for column in ("thought", "no_answer"):
        db.execute(f"ALTER TABLE responses ADD COLUMN {column} TEXT")
    db.execute(f"UPDATE responses SET no_answer = {_EMPTY}")
    for index in ("scores_of_task", "responses_of_task", "verdicts_of_response"):
        db.execute(f"DROP INDEX IF EXISTS {index}")
    moved = [table for table in ("verdicts", "rankings", "annotations") if _has(db, table)]
    for table in moved:
        db.execute(f"ALTER TABLE {table} RENAME TO {table}_1")
    for statement in statements():
        if not statement.lstrip().startswith("CREATE TABLE") or not _has(db, _name(statement)):
            db.execute(statement)
    for table in moved:
        columns, shown = ", ".join(ASKED[table]), _SHOWN[table].format(f"{table}_1")
        db.execute(
            f"INSERT INTO {table} SELECT * FROM ({shown}) GROUP BY {columns} HAVING COUNT(*) = 1"
        )
        db.execute(f"DROP TABLE {table}_1")
    db.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA_VERSION),))
    db.execute("INSERT INTO meta VALUES ('before', '1')")
    return None


def _has(db: sqlite3.Connection, table: str) -> bool:
    query = "SELECT COUNT(*) FROM main.sqlite_master WHERE type = 'table' AND name = ?"
    return bool(db.execute(query, (table,)).fetchone()[0])


def _name(statement: str) -> str:
    return statement.split()[2]


def _name_annotators(db: sqlite3.Connection) -> None:
    """Teaches SQLite names that stand for one way of asking each.

    The most numerous annotations keep the name; others get a hash of their settings behind it.
    """
    counts: Counter[tuple[str, str]] = Counter()
    if _has(db, "annotations"):
        for annotator, settings in db.execute("SELECT annotator, settings FROM main.annotations"):
            counts[_plain(annotator), _way(_plain(settings))] += 1
    most: dict[str, str] = {}
    for (annotator, way), _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
        most.setdefault(annotator, way)

    def name_of(annotator: str, settings: str) -> str:
        way = _way(settings)
        same = most.get(annotator, way) == way
        return annotator if same else f"{annotator}-{hashlib.sha256(way.encode()).hexdigest()[:8]}"

    db.create_function("name_of", 2, name_of, deterministic=True)


def _plain(text: str | bytes) -> str:
    # A damaged store is read in bytes.
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def _way(settings: str) -> str:
    """Settings without what is drawn for each pair."""
    try:
        return json.dumps({**json.loads(settings), "swapped": None}, sort_keys=True)
    except (ValueError, TypeError):
        return settings
