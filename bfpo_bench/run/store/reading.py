"""What can be asked of a store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.lazy import LazySequence
from bfpo_bench.run.store.fit import misfit
from bfpo_bench.run.store.records import (
    REFUSALS,
    AnnotationRecord,
    ItemRecord,
    OutcomeRecord,
    RankingRecord,
    ResponseRecord,
    ResponseTotals,
    ScoreRecord,
    VerdictRecord,
)
from bfpo_bench.run.store.schema import ASKED

Record = TypeVar("Record")

_MENDED = "run its evaluate command again, which keeps what can be read"
_AGAIN = "begin the run again with --fresh"
_ADVICE = {
    sqlite3.SQLITE_CORRUPT: _MENDED,
    sqlite3.SQLITE_NOTADB: _MENDED,
    # A missing table, broken JSON, a text that is no UTF-8: nobody finds these to mend them.
    sqlite3.SQLITE_ERROR: _AGAIN,
}
"""What to do, by what SQLite says where the file holds something wrong; the rest is of disk and
permissions."""


class Reading:
    """The reading half of a store; :class:`Store` is the whole."""

    path: Path
    _db: sqlite3.Connection
    _looks: bool = False

    def items(self, task: str) -> list[ItemRecord]:
        """Items of a task in the order of its source."""
        return list(self.iter_items(task))

    def iter_items(self, task: str, beginning: str = "") -> Iterator[ItemRecord]:
        """The same one by one, in memory that does not grow with their number.

        Args:
            beginning: only those whose id begins with it.
        """
        query = (
            "SELECT task, item, position, row FROM items "
            "WHERE task = ? AND substr(item, 1, ?) = ? ORDER BY position"
        )
        with self._explained(self._looks):
            for row in self._db.execute(query, (task, len(beginning), beginning)):
                yield self._record(ItemRecord, row)

    def scores(self, task: str, item: str | None = None) -> list[ScoreRecord]:
        """Scores of a task, or of one item of it, ordered by item and choice."""
        return [
            self._record(ScoreRecord, row) for row in self._of("scores", task, item, "item, choice")
        ]

    def responses(self, task: str, item: str | None = None) -> list[ResponseRecord]:
        """Responses of a task, or of one item of it, ordered by item."""
        return [self._record(ResponseRecord, row) for row in self._of("responses", task, item)]

    def lazy_responses(
        self, task: str, items: Iterable[str] | None = None
    ) -> Sequence[ResponseRecord]:
        """The responses of a task, ordered by item, read as they are looked at.

        Args:
            items: those of these items alone.
        """
        there = {item for (item,) in self.answered("responses", task=task)}
        asked = sorted(there if items is None else there.intersection(items))

        def read(window: range) -> list[ResponseRecord]:
            some = asked[window.start : window.stop]
            marks = ",".join("?" * len(some))
            query = f"SELECT * FROM responses WHERE task = ? AND item IN ({marks}) ORDER BY item"
            return self.records(ResponseRecord, query, task, *some)

        return LazySequence(len(asked), read)

    def response_totals(self, task: str) -> ResponseTotals:
        """Sums over the responses of a task."""
        query = (
            "SELECT COUNT(*), TOTAL(tokens), TOTAL(cut_tokens > 0), TOTAL(TRIM(thought) != '') "
            "FROM responses WHERE task = ?"
        )
        [(responses, tokens, cut, thoughts)] = self._select(query, task)

        def counts(column: str) -> dict[str, int]:
            query = (
                f"SELECT {column}, COUNT(*) FROM responses WHERE task = ? AND {column} IS NOT NULL "
                "GROUP BY 1 ORDER BY 1"
            )
            return dict(self._select(query, task))

        return ResponseTotals(
            *(int(responses), int(tokens), int(cut)),
            *(counts("finish"), counts("no_answer"), int(thoughts)),
        )

    def cut_items(self, task: str) -> int:
        """Items of a task of which a scored context had to be cut."""
        query = "SELECT COUNT(DISTINCT item) FROM scores WHERE task = ? AND cut_tokens > 0"
        [(count,)] = self._select(query, task)
        return int(count)

    def verdict_counts(self, task: str, judge: str) -> dict[bool | None, int]:
        """How many of a judge's verdicts on a task say harmful, harmless, and unknown (None)."""
        query = (
            "SELECT v.harmful, COUNT(*) FROM responses r JOIN verdicts v USING (task, item) "
            "WHERE r.task = ? AND v.judge = ? GROUP BY v.harmful"
        )
        return {True: 0, False: 0, None: 0} | dict(self._select(query, task, judge))

    def unknown_verdicts(self, task: str, judge: str) -> int:
        """How many of a judge's verdicts on a task say nothing."""
        query = (
            "SELECT COUNT(*) FROM verdicts "
            "WHERE task = ? AND judge = ? AND harmful IS NULL AND refusal IS NULL"
        )
        [(count,)] = self._select(query, task, judge)
        return int(count)

    def refusal_counts(self, task: str, judge: str) -> dict[str | None, int]:
        """How many of a judge's verdicts on a task are each of `REFUSALS`, or none (None)."""
        query = (
            "SELECT v.refusal, COUNT(*) FROM responses r JOIN verdicts v USING (task, item) "
            "WHERE r.task = ? AND v.judge = ? GROUP BY v.refusal"
        )
        return {**dict.fromkeys((*REFUSALS, None), 0), **dict(self._select(query, task, judge))}

    def verdicts(self, task: str, judge: str) -> list[VerdictRecord]:
        """One judge's verdicts on a task's responses, ordered by item."""
        query = (
            "SELECT v.* FROM responses r JOIN verdicts v USING (task, item) "
            "WHERE r.task = ? AND v.judge = ? ORDER BY r.item"
        )
        return self.records(VerdictRecord, query, task, judge)

    def verdicts_on(self, task: str, item: str) -> list[VerdictRecord]:
        """Every judge's verdicts on the response to one item, ordered by judge."""
        query = "SELECT * FROM verdicts WHERE task = ? AND item = ? ORDER BY judge"
        return self.records(VerdictRecord, query, task, item)

    def rankings(self) -> dict[str, RankingRecord]:
        """Every ranking, by key."""
        found = self.records(RankingRecord, "SELECT * FROM rankings")
        return {one.key: one for one in found}

    def annotations(self) -> dict[str, AnnotationRecord]:
        """Every annotation, by key."""
        found = self.records(AnnotationRecord, "SELECT * FROM annotations ORDER BY key")
        return {one.key: one for one in found}

    def annotations_on(self, task: str, item: str) -> list[AnnotationRecord]:
        """Every annotator's preference on the response to one item, ordered by annotator."""
        query = "SELECT * FROM annotations WHERE task = ? AND item = ? ORDER BY annotator"
        return self.records(AnnotationRecord, query, task, item)

    def outcomes_of(self, task: str, item: str) -> dict[str, float]:
        """Value of each metric of one item."""
        query = "SELECT * FROM outcomes WHERE task = ? AND item = ? ORDER BY metric"
        return {one.metric: one.value for one in self.records(OutcomeRecord, query, task, item)}

    def outcomes(self, task: str, metric: str) -> dict[str, float]:
        """Value of a metric for each item of a task."""
        query = "SELECT * FROM outcomes WHERE task = ? AND metric = ? ORDER BY item"
        return {one.item: one.value for one in self.records(OutcomeRecord, query, task, metric)}

    def answered(self, table: str, **where: str) -> dict[tuple[Any, ...], str]:
        """Key of each answer of a table by what was asked: the columns of :data:`ASKED`.

        Args:
            where: columns that are wanted with one value; they are left out of what was asked.
        """
        columns = [column for column in ASKED[table] if column not in where]
        wanted = " AND ".join(f"{column} = ?" for column in where) or "1"
        query = f"SELECT {', '.join(columns)}, key FROM {table} WHERE {wanted}"
        return {tuple(asked): key for *asked, key in self._select(query, *where.values())}

    @property
    def of_schema_1(self) -> bool:
        """Whether this was a store of schema 1, whose keys were made by other rules."""
        return bool(self._select("SELECT 1 FROM meta WHERE name = 'before' AND value = '1'"))

    def name_for(self, name: str, table: str, keys: Mapping[tuple[Any, ...], str], own: str) -> str:
        """The name under which somebody's answers are stored, so that no two share one.

        Where ``name`` belongs to another already (a card that was changed, other weights), the
        beginning of the asker's own key is put behind it.

        Args:
            keys: of the answers that it gives, by what was asked (without its name).
            own: hash of the one who answers.
        """
        stored = self.answered(table, **{ASKED[table][0]: name})
        taken = any(keys.get(asked, key) != key for asked, key in stored.items())
        return f"{name}-{own[:8]}" if taken else name

    def keys(self, table: str, task: str | None = None) -> set[str]:
        """Keys of the answers of a table."""
        return set(self.answered(table, **({} if task is None else {"task": task})).values())

    def select(self, query: str, *values: Any) -> list[Any]:
        """The rows of a query of one's own; docs/results.md describes the tables."""
        return self._select(query, *values)

    def records(self, kind: type[Record], query: str, *values: Any) -> list[Record]:
        """The same as records of one kind, whose columns it asks for in their order.

        Raises:
            BadInput: a row is of other types than we write.
        """
        return [self._record(kind, row) for row in self._select(query, *values)]

    # ------------------------------------------------------------------ details

    def _record(self, kind: type[Record], row: Any) -> Record:
        wrong = misfit(kind, row)
        if wrong is None:
            return kind(*row)
        at = dict(zip((field.name for field in fields(kind)), row, strict=False))  # type: ignore[arg-type]
        raise BadInput(
            f"{self.path} holds an answer to {at.get('task')!s:.80}, item {at.get('item')!s:.80} "
            f"that is damaged ({wrong}); {_AGAIN}."
        )

    def _of(self, table: str, task: str, item: str | None, order: str = "item") -> list[Any]:
        some, values = ("", (task,)) if item is None else (" AND item = ?", (task, item))
        return self._select(f"SELECT * FROM {table} WHERE task = ?{some} ORDER BY {order}", *values)

    def _select(self, query: str, *values: Any) -> list[Any]:
        with self._explained(self._looks):
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _explained(self, looks: bool = False) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # The low byte is the kind of error.
            advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 1) & 0xFF)
            if looks and advice:
                raise BadInput(f"{self.path} is damaged ({error}); {advice}.") from error
            raise RunFailed(
                f"cannot use {self.path}: {error}; what was stored before is kept, so mend the "
                "cause (disk space, permissions) and run the same command again."
            ) from error
