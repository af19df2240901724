"""A store, opened: records in and out, whole batches or nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from bfpo_bench.errors import BadInput, RunFailed
from bfpo_bench.store.records import (
    AnnotationRecord,
    ItemRecord,
    OutcomeRecord,
    RankingRecord,
    ResponseRecord,
    ResponseTotals,
    ScoreRecord,
    VerdictRecord,
)
from bfpo_bench.store.schema import ANNOTATIONS, SCHEMA_VERSION, TABLES
from bfpo_bench.windowed import Windowed

_BOOLEANS = ("is_greedy", "harmful")

_SMALLEST_DATABASE = 512
"""Bytes of the smallest page that SQLite knows."""


class Store:
    """The open `samples.sqlite` of a run directory.

    Args:
        path: the file; made when it is not there.
        read_only: only look, and at the moment of opening, whatever a run adds meanwhile.

    Raises:
        BadInput: the file is no store of ours, or of a newer version of this program.
        RunFailed: reading or writing fails (disk full, damaged file); what was committed stays.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        if read_only and not path.is_file():
            raise BadInput(f"{path} is not there; nothing has been answered in this run yet.")
        if path.is_file() and 0 < path.stat().st_size < _SMALLEST_DATABASE:
            # SQLite takes a file of a few bytes for an empty database and would write over it.
            raise BadInput(f"{path} is not a store of bfpo-bench; move it away or use --fresh.")
        with self._explained():
            address = _to_look_at(path) if read_only else path
            self._db = sqlite3.connect(address, isolation_level=None, uri=read_only)
            if read_only:
                self._db.execute("BEGIN")
            else:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.row_factory = _with_booleans
            self._prepare(read_only)

    def _prepare(self, read_only: bool) -> None:
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
        if not tables and read_only:
            raise BadInput(f"{self.path} is empty; nothing has been answered in this run yet.")
        if not tables:
            with self._transaction():
                for statement in TABLES.split(";\n"):
                    if statement.strip():
                        self._db.execute(statement)
                self._db.execute(ANNOTATIONS)
                self._db.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
            return
        if "meta" not in tables:
            raise BadInput(
                f"{self.path} is not a store of bfpo-bench; move it away or use --fresh."
            )
        (found,) = self._db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        if int(found) > SCHEMA_VERSION:
            raise BadInput(
                f"{self.path} was written by a newer bfpo-bench (schema {found}, this one knows "
                f"{SCHEMA_VERSION}); upgrade bfpo-bench to go on with this run."
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
        # Stores of before helpfulness was measured have no such table.
        with self._explained():
            self._db.execute(ANNOTATIONS)
        self._insert("annotations", AnnotationRecord, records)

    def add_outcomes(self, records: Iterable[OutcomeRecord]) -> None:
        """Writes outcomes in one transaction."""
        self._insert("outcomes", OutcomeRecord, records)

    # ------------------------------------------------------------------ reading

    def items(self, task: str) -> list[ItemRecord]:
        """Items of a task in the order of its source."""
        return list(self.iter_items(task))

    def iter_items(self, task: str) -> Iterator[ItemRecord]:
        """The same one by one, in memory that does not grow with their number."""
        query = "SELECT task, item, position, row FROM items WHERE task = ? ORDER BY position"
        with self._explained():
            for row in self._db.execute(query, (task,)):
                yield ItemRecord(*row)

    def scores(self, task: str, item: str | None = None) -> list[ScoreRecord]:
        """Scores of a task, or of one item of it, ordered by item and choice."""
        return [ScoreRecord(*row) for row in self._of("scores", task, item, "item, choice")]

    def responses(self, task: str, item: str | None = None) -> list[ResponseRecord]:
        """Responses of a task, or of one item of it, ordered by item."""
        return [ResponseRecord(*row) for row in self._of("responses", task, item, "item")]

    def lazy_responses(self, task: str) -> Sequence[ResponseRecord]:
        """The responses of a task, ordered by item, read as they are looked at."""
        query = "SELECT * FROM responses WHERE task = ? ORDER BY item LIMIT ? OFFSET ?"

        def read(window: range) -> list[ResponseRecord]:
            rows = self._select(query, task, len(window), window.start)
            return [ResponseRecord(*row) for row in rows]

        [(count,)] = self._select("SELECT COUNT(*) FROM responses WHERE task = ?", task)
        return Windowed(count, read)

    def response_totals(self, task: str) -> ResponseTotals:
        """Sums over the responses of a task."""
        query = (
            "SELECT COUNT(*), TOTAL(tokens), TOTAL(finish = 'length'), TOTAL(cut_tokens > 0) "
            "FROM responses WHERE task = ?"
        )
        [row] = self._select(query, task)
        return ResponseTotals(*map(int, row))

    def cut_items(self, task: str) -> int:
        """Items of a task of which a scored context had to be cut."""
        query = "SELECT COUNT(DISTINCT item) FROM scores WHERE task = ? AND cut_tokens > 0"
        [(count,)] = self._select(query, task)
        return int(count)

    def verdict_counts(self, task: str, judge: str) -> dict[bool | None, int]:
        """How many of a judge's verdicts on a task say harmful, harmless, and unknown (None)."""
        query = (
            "SELECT v.harmful, COUNT(*) FROM responses r JOIN verdicts v ON v.response_key = r.key "
            "WHERE r.task = ? AND v.judge = ? GROUP BY v.harmful"
        )
        return {True: 0, False: 0, None: 0} | dict(self._select(query, task, judge))

    def verdicts(self, task: str, judge: str) -> list[VerdictRecord]:
        """One judge's verdicts on a task's responses, ordered by item."""
        query = (
            "SELECT v.* FROM responses r JOIN verdicts v ON v.response_key = r.key "
            "WHERE r.task = ? AND v.judge = ? ORDER BY r.item"
        )
        return [VerdictRecord(*row) for row in self._select(query, task, judge)]

    def undecided(self) -> set[str]:
        """Keys of the verdicts that are unknown."""
        return {key for (key,) in self._select("SELECT key FROM verdicts WHERE harmful IS NULL")}

    def verdicts_on(self, response_key: str) -> list[VerdictRecord]:
        """Every judge's verdicts on one response, ordered by judge."""
        query = "SELECT * FROM verdicts WHERE response_key = ? ORDER BY judge, key"
        return [VerdictRecord(*row) for row in self._select(query, response_key)]

    def rankings(self) -> dict[str, RankingRecord]:
        """Every ranking, by key."""
        return {row[0]: RankingRecord(*row) for row in self._select("SELECT * FROM rankings")}

    def annotations(self) -> dict[str, AnnotationRecord]:
        """Every annotation, by key."""
        tables = self._select("SELECT name FROM sqlite_master WHERE name = 'annotations'")
        if not tables:
            return {}
        rows = self._select("SELECT * FROM annotations ORDER BY key")
        return {row[0]: AnnotationRecord(*row) for row in rows}

    def outcomes_of(self, task: str, item: str) -> dict[str, float]:
        """Value of each metric of one item."""
        query = "SELECT metric, value FROM outcomes WHERE task = ? AND item = ? ORDER BY metric"
        return dict(self._select(query, task, item))

    def outcomes(self, task: str, metric: str) -> dict[str, float]:
        """Value of a metric for each item of a task."""
        query = "SELECT item, value FROM outcomes WHERE task = ? AND metric = ? ORDER BY item"
        return dict(self._select(query, task, metric))

    def keys(self, table: str, task: str | None = None) -> set[str]:
        """Keys of the answers in ``scores``, ``responses`` or ``verdicts``."""
        if table not in ("scores", "responses", "verdicts"):
            raise ValueError(f"no keys in table {table!r}")
        if task is None:
            return {key for (key,) in self._select(f"SELECT key FROM {table}")}
        query = f"SELECT key FROM {table} WHERE task = ?"
        return {key for (key,) in self._select(query, task)}

    def select(self, query: str, *values: Any) -> list[Any]:
        """The rows of a query of one's own; docs/results.md describes the tables."""
        return self._select(query, *values)

    def close(self) -> None:
        """Closes the file; the write-ahead log is folded into it."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------ details

    def _insert(self, table: str, kind: type[Any], records: Iterable[Any]) -> None:
        marks = ",".join("?" * len(fields(kind)))
        with self._explained(), self._transaction():
            self._db.executemany(
                f"INSERT OR REPLACE INTO {table} VALUES ({marks})",
                (tuple(map(_storable, vars(record).values())) for record in records),
            )

    def _of(self, table: str, task: str, item: str | None, order: str) -> list[Any]:
        some, values = ("", (task,)) if item is None else (" AND item = ?", (task, item))
        return self._select(f"SELECT * FROM {table} WHERE task = ?{some} ORDER BY {order}", *values)

    def _select(self, query: str, *values: Any) -> list[Any]:
        with self._explained():
            return self._db.execute(query, values).fetchall()

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

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise RunFailed(
                f"cannot use {self.path}: {error}; what was stored before is kept, so mend the "
                "cause (disk space, permissions) and run the same command again."
            ) from error


def _to_look_at(path: Path) -> str:
    """The address under which SQLite opens a file for reading alone."""
    # In a folder that takes no files, SQLite cannot share a log with a writer; where there is no
    # log, there is no writer either, and the file may be read as it is.
    alone = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"


def _with_booleans(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """SQLite keeps truth values as 0 and 1; hand them out as what they are (NULL stays None)."""
    return tuple(
        bool(value) if column[0] in _BOOLEANS and value is not None else value
        for column, value in zip(cursor.description, row, strict=True)
    )


def _storable(value: Any) -> Any:
    """A value that SQLite takes: half a surrogate pair in a text becomes U+FFFD."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
