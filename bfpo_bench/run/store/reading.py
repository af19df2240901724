"""What can be asked of a store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.lazy import LazySequence
from bfpo_bench.run.store.records import (
    REFUSALS,
    AnnotationRecord,
    ItemRecord,
    RankingRecord,
    ResponseRecord,
    ResponseTotals,
    ScoreRecord,
    VerdictRecord,
)
from bfpo_bench.run.store.schema import ASKED


class Reading:
    """The reading half of a store; :class:`Store` is the whole."""

    path: Path
    _db: sqlite3.Connection

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
        with self._explained():
            for row in self._db.execute(query, (task, len(beginning), beginning)):
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
        return LazySequence(count, read)

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
        return [VerdictRecord(*row) for row in self._select(query, task, judge)]

    def verdicts_on(self, task: str, item: str) -> list[VerdictRecord]:
        """Every judge's verdicts on the response to one item, ordered by judge."""
        query = "SELECT * FROM verdicts WHERE task = ? AND item = ? ORDER BY judge"
        return [VerdictRecord(*row) for row in self._select(query, task, item)]

    def rankings(self) -> dict[str, RankingRecord]:
        """Every ranking, by key."""
        return {row[0]: RankingRecord(*row) for row in self._select("SELECT * FROM rankings")}

    def annotations(self) -> dict[str, AnnotationRecord]:
        """Every annotation, by key."""
        rows = self._select("SELECT * FROM annotations ORDER BY key")
        return {row[0]: AnnotationRecord(*row) for row in rows}

    def annotations_on(self, task: str, item: str) -> list[AnnotationRecord]:
        """Every annotator's preference on the response to one item, ordered by annotator."""
        query = "SELECT * FROM annotations WHERE task = ? AND item = ? ORDER BY annotator"
        return [AnnotationRecord(*row) for row in self._select(query, task, item)]

    def outcomes_of(self, task: str, item: str) -> dict[str, float]:
        """Value of each metric of one item."""
        query = "SELECT metric, value FROM outcomes WHERE task = ? AND item = ? ORDER BY metric"
        return dict(self._select(query, task, item))

    def outcomes(self, task: str, metric: str) -> dict[str, float]:
        """Value of a metric for each item of a task."""
        query = "SELECT item, value FROM outcomes WHERE task = ? AND metric = ? ORDER BY item"
        return dict(self._select(query, task, metric))

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

    # ------------------------------------------------------------------ details

    def _of(self, table: str, task: str, item: str | None, order: str) -> list[Any]:
        some, values = ("", (task,)) if item is None else (" AND item = ?", (task, item))
        return self._select(f"SELECT * FROM {table} WHERE task = ?{some} ORDER BY {order}", *values)

    def _select(self, query: str, *values: Any) -> list[Any]:
        with self._explained():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise RunFailed(
                f"cannot use {self.path}: {error}; what was stored before is kept, so mend the "
                "cause (disk space, permissions) and run the same command again."
            ) from error
