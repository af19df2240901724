"""A store, opened: records in and out, whole batches or nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.run.store import schema_1, schema_2
from bfpo_bench.run.store.fit import BOOLEANS
from bfpo_bench.run.store.journal import open_to_read, open_to_write
from bfpo_bench.run.store.reading import Reading
from bfpo_bench.run.store.records import (
    AnnotationRecord,
    ItemRecord,
    OutcomeRecord,
    RankingRecord,
    ResponseRecord,
    ScoreRecord,
    VerdictRecord,
)
from bfpo_bench.run.store.schema import ASKED, SCHEMA_VERSION, statements

_SMALLEST_DATABASE = 512
"""Bytes of the smallest page that SQLite knows."""


class Store(Reading):
    """The open `samples.sqlite` of a run directory.

    Args:
        path: the file; made when it is not there.
        read_only: only look, and at the moment of opening, whatever a run adds meanwhile.
        locks: False where the file system was seen to have none; see :mod:`.journal`.

    Raises:
        BadInput: the file is no store of ours, or of a newer version of this program.
        RunFailed: reading or writing fails (disk full, damaged file); what was committed stays.
    """

    def __init__(self, path: Path, read_only: bool = False, locks: bool = True) -> None:
        self.path = path
        self._looks = read_only
        # Of os: in a folder that is closed to us, a Path would raise.
        there = os.path.isfile(path)  # noqa: PTH113
        if read_only and not there:
            raise BadInput(f"{path} is not there; nothing has been answered in this run yet.")
        if there and 0 < path.stat().st_size < _SMALLEST_DATABASE:
            # SQLite takes a file of a few bytes for an empty database and would write over it.
            raise BadInput(
                f"{path} is not a store of bfpo-bench; move it away, or begin the run again with "
                "--fresh."
            )
        with self._explained(read_only):
            if read_only:
                self._db = open_to_read(path)
                self._db.execute("BEGIN")
            else:
                self._db = self._connect(locks)
            self._db.row_factory = _with_booleans
            self._prepare(read_only)

    def _connect(self, locks: bool) -> sqlite3.Connection:
        return open_to_write(self.path, locks)

    def _prepare(self, read_only: bool) -> None:
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
        if not tables and read_only:
            raise BadInput(f"{self.path} is empty; nothing has been answered in this run yet.")
        if not tables:
            with self._transaction():
                for statement in statements():
                    self._db.execute(statement)
                self._db.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
            return
        query = "SELECT value FROM meta WHERE name = 'schema'"
        rows = self._db.execute(query).fetchall() if "meta" in tables else []
        if not rows or not str(rows[0][0]).isdecimal():
            raise BadInput(
                f"{self.path} is not a store of bfpo-bench; move it away, or begin the run again "
                "with --fresh."
            )
        found = int(rows[0][0])
        if found > SCHEMA_VERSION:
            raise BadInput(
                f"{self.path} was written by a newer bfpo-bench (schema {found}, this one knows "
                f"{SCHEMA_VERSION}); upgrade bfpo-bench to go on with this run."
            )
        if found == SCHEMA_VERSION:
            return
        if read_only:
            (schema_1 if found == 1 else schema_2).show(self._db)
        elif found == 1:
            self._migrate_1()
        else:
            with self._transaction():
                schema_2.migrate(self._db)

    def _migrate_1(self) -> None:
        with self._transaction():
            twice = schema_1.migrate(self._db)
            if twice is not None:
                task, item = twice
                raise BadInput(
                    f"{self.path} holds several answers to {task}, item {item}: what is asked has "
                    "changed between two sessions, as it does with a chat template that writes "
                    "the date, and nobody knows which counts; use another run directory, or begin "
                    "this one again with --fresh."
                )

    # ------------------------------------------------------------------ writing

    def add_items(self, records: Iterable[ItemRecord]) -> None:
        """Writes items; the ones already there are replaced by equal ones."""
        self._insert("items", ItemRecord, records)

    def add_scores(self, records: Iterable[ScoreRecord]) -> None:
        """Writes a batch of scores in one transaction."""
        self._insert("scores", ScoreRecord, records)

    def add_responses(self, records: Iterable[ResponseRecord]) -> None:
        """Writes a batch of responses in one transaction."""
        self._insert("responses", ResponseRecord, records)

    def add_verdicts(self, records: Iterable[VerdictRecord]) -> None:
        """Writes a batch of verdicts in one transaction."""
        self._insert("verdicts", VerdictRecord, records)

    def add_rankings(self, records: Iterable[RankingRecord]) -> None:
        """Writes a batch of rankings in one transaction."""
        self._insert("rankings", RankingRecord, records)

    def add_annotations(self, records: Iterable[AnnotationRecord]) -> None:
        """Writes a batch of annotations in one transaction."""
        self._insert("annotations", AnnotationRecord, records)

    def add_outcomes(self, records: Iterable[OutcomeRecord]) -> None:
        """Writes outcomes in one transaction."""
        self._insert("outcomes", OutcomeRecord, records)

    def rekey(self, table: str, keys: Mapping[str, str]) -> None:
        """Gives answers of a table other keys, old to new, in one transaction."""
        assert table in ASKED
        with self._explained(), self._transaction():
            self._db.executemany(
                f"UPDATE {table} SET key = ? WHERE key = ?",
                ((new, old) for old, new in keys.items()),
            )

    def forget_verdicts(self, judge: str) -> None:
        """Removes the verdicts of a judge."""
        with self._explained(), self._transaction():
            self._db.execute("DELETE FROM verdicts WHERE judge = ?", (judge,))

    def close(self) -> None:
        """Closes the file; a write-ahead log is folded into it."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------ details

    def _insert(self, table: str, kind: type[Any], records: Iterable[Any]) -> None:
        names = [field.name for field in fields(kind)]
        marks = ",".join("?" * len(names))
        insert = f"INSERT OR REPLACE INTO {table} VALUES ({marks})"
        if table in ASKED:
            # A recomputed answer replaces its equal; another key for what is answered is refused.
            changes = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
            insert = (
                f"INSERT INTO {table} VALUES ({marks}) ON CONFLICT (key) DO UPDATE SET {changes}"
            )
        last: Any = None

        def values() -> Iterator[tuple[Any, ...]]:
            nonlocal last
            for last in records:
                yield tuple(map(_storable, vars(last).values()))

        with self._explained(), self._transaction():
            try:
                self._db.executemany(insert, values())
            except sqlite3.IntegrityError as error:
                if "UNIQUE" not in str(error):
                    raise
                asked = ", ".join(str(getattr(last, name)) for name in ASKED[table])
                raise RunFailed(
                    f"{self.path} already holds an answer in {table} for {asked}, made in another "
                    "way; nothing is answered twice in a run, so use another run directory, or "
                    "begin this one again with --fresh."
                ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _with_booleans(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """SQLite keeps truth values as 0 and 1; hand them out as what they are (NULL stays None)."""
    return tuple(
        bool(value) if column[0] in BOOLEANS and value in (0, 1) else value
        for column, value in zip(cursor.description, row, strict=True)
    )


def _storable(value: Any) -> Any:
    """A value that SQLite takes: half a surrogate pair in a text becomes U+FFFD."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
