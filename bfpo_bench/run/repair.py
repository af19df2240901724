"""A damaged `samples.sqlite`: what can still be read is kept, the rest is done again.

Damage is looked for each time a run's store is opened for writing, with SQLite's ``quick_check``:
0.6 s for 430 MB, less than any model takes to load. It finds broken pages, not a bit that flipped
inside an answer's text: SQLite keeps no checksum of those.

The damaged file is moved aside first and never written to. Every later step can be interrupted: a
folder with a ``samples.sqlite.damaged-N`` and no ``samples.sqlite`` is a rescue to be done again.
"""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.run.store import (
    SCHEMA_VERSION,
    AnnotationRecord,
    ItemRecord,
    OutcomeRecord,
    ResponseRecord,
    ScoreRecord,
    Store,
    VerdictRecord,
    schema_1,
    schema_2,
)
from bfpo_bench.run.store.fit import BOOLEANS, misfit
from bfpo_bench.run.store.schema import ASKED

log = logging.getLogger(__name__)

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_KEY = re.compile(r"[0-9a-f]{32}")
_RANGES = 256
"""Pieces in which a table of answers is read: a broken page costs what is lost around it in one."""


def open_whole(path: Path, locks: bool = True) -> Store:
    """Opens a store for writing, mended first if its file is damaged. Says so in one warning.

    Args:
        locks: see :class:`Store`.

    Raises:
        BadInput, RunFailed: as :class:`Store` does.
    """
    _roll_back(path)
    aside = None if path.exists() else _latest(path)
    if path.exists() and is_damaged(path):
        aside = _move_aside(path)
    if aside is not None:
        kept = _rescue(aside, path, locks)
        log.warning(
            "%s was damaged: %d of its rows could be read and are kept, the rest is done again; "
            "the damaged file is now %s.",
            *(path, kept, aside.name),
        )
    return Store(path, locks=locks)


def _roll_back(path: Path) -> None:
    """Undoes what a killed writer without a log has left half done; looking alone cannot."""
    journal = path.with_name(f"{path.name}-journal")
    if path.exists() and journal.exists() and journal.stat().st_size:
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as db:
            db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()


def is_damaged(path: Path) -> bool:
    """Whether a store of ours, of a version that we know, is broken."""
    try:
        with closing(_look(path)) as db:
            newer = _schema(db) > SCHEMA_VERSION
            return not newer and db.execute("PRAGMA quick_check(1)").fetchone() != (b"ok",)
    except sqlite3.Error as error:
        # Anything else that is wrong (permissions, a foreign file) is for the store to explain.
        return _is_damage(error)


def _schema(db: sqlite3.Connection) -> int:
    (found,) = db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() or (b"0",)
    return int(found) if found.isdigit() else 0


def _show_as_today(db: sqlite3.Connection) -> None:
    """Views of today's shape, where a store is an older one's."""
    # By its tables: the row that says so may be what is broken.
    try:
        found = db.execute("SELECT CAST(name AS BLOB) FROM pragma_table_info('verdicts', 'main')")
        columns = [name for (name,) in found]
    except sqlite3.Error as error:
        if not _is_damage(error):
            raise
        return
    if b"response_key" in columns:
        schema_1.show(db)
    elif columns and b"refusal" not in columns:
        schema_2.show(db)


def _is_damage(error: sqlite3.Error) -> bool:
    # The low byte is the kind of error; the rest says where SQLite met it.
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _DAMAGE


def _look(path: Path) -> sqlite3.Connection:
    # Read-only, so that closing does not fold a log into a file that is broken. Texts as bytes:
    # one that is no UTF-8 any more must not end the reading of the others.
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    db.text_factory = bytes
    db.execute("PRAGMA cell_size_check=ON")
    return db


def _asides(path: Path) -> dict[int, Path]:
    found = {}
    for file in path.parent.glob(f"{path.name}.damaged-*"):
        number = file.name.rpartition("-")[2]
        if number.isdecimal():
            found[int(number)] = file
    return found


def _latest(path: Path) -> Path | None:
    found = _asides(path)
    return found[max(found)] if found else None


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{max(_asides(path), default=0) + 1}")
    try:
        # The log first: beside a new file it would be played into that one.
        for ending in ("-wal", "-journal", ""):
            part = path.with_name(path.name + ending)
            if part.exists():
                part.rename(aside.with_name(aside.name + ending))
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    except OSError as error:
        raise RunFailed(
            f"{path} is damaged and cannot be moved aside ({error.strerror}); move it yourself and "
            "run the same command again."
        ) from error
    return aside


def _rescue(aside: Path, path: Path, locks: bool) -> int:
    """Copies every readable row into a new store at `path`; returns how many."""
    building = path.with_name(f"{path.name}.rescue")
    for ending in ("", "-wal", "-shm", "-journal"):
        building.with_name(building.name + ending).unlink(missing_ok=True)
    count = 0

    def counted(rows: Iterable[Any]) -> Iterator[Any]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    with Store(building, locks=locks) as store:
        try:
            with closing(_look(aside)) as db:
                _show_as_today(db)
                store.add_items(counted(_rows(db, "items", ItemRecord, "task, item")))
                store.add_scores(counted(_answers(db, "scores", ScoreRecord)))
                store.add_responses(counted(_answers(db, "responses", ResponseRecord)))
                there = store.answered("responses")
                # A response that is lost may come out differently; then so may its verdict.
                verdicts = _answers(db, "verdicts", VerdictRecord)
                store.add_verdicts(counted(v for v in verdicts if (v.task, v.item) in there))
                annotations = _answers(db, "annotations", AnnotationRecord)
                store.add_annotations(counted(a for a in annotations if (a.task, a.item) in there))
                outcomes = _rows(db, "outcomes", OutcomeRecord, "task, item, metric")
                store.add_outcomes(counted(outcomes))
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise RunFailed(
                    f"the damaged store {aside} cannot be read ({error}); mend the cause (disk, "
                    "permissions) and run the same command again."
                ) from error
    # What reading alone has left beside it.
    aside.with_name(f"{aside.name}-shm").unlink(missing_ok=True)
    log_file = aside.with_name(f"{aside.name}-wal")
    if log_file.exists() and not log_file.stat().st_size:
        log_file.unlink()
    building.replace(path)
    return count


def _answers(db: sqlite3.Connection, table: str, record: type[Any]) -> Iterator[Any]:
    """The rows of a table of answers that can be read: of several to one question the first."""
    seen: set[tuple[Any, ...]] = set()
    for row in _rows(db, table, record, "key"):
        asked = tuple(getattr(row, column) for column in ASKED[table])
        if asked not in seen:
            seen.add(asked)
            yield row


def _rows(db: sqlite3.Connection, table: str, record: type[Any], order: str) -> Iterator[Any]:
    """The rows of a table that can be read and are what they should be."""
    names = [field.name for field in fields(record)]
    hashed = order == "key"
    seen: set[tuple[Any, ...]] = set()
    width = len(order.split(", "))
    for low, high in _ranges() if hashed else [("", None)]:
        where = "WHERE key >= ? AND key < ?" if hashed else ""
        values = (low, high) if hashed else ()
        ordered = [order, ", ".join(f"{column} DESC" for column in order.split(", "))]
        for by in ordered:
            # Whole where nothing is broken; else up to the break, from both ends.
            query = f"SELECT {', '.join(names)} FROM {table} {where} ORDER BY {by}"
            whole = True
            try:
                for row in db.execute(query, values):
                    found = _checked(row, record, names, hashed)
                    if found is not None and found[:width] not in seen:
                        seen.add(found[:width])
                        yield record(*found)
            except sqlite3.Error as error:
                if not _is_damage(error) and "no such table" not in str(error):
                    raise
                whole = False
            if whole:
                break


def _ranges() -> Iterator[tuple[str, str]]:
    for number in range(_RANGES):
        yield f"{number:02x}", f"{number + 1:02x}" if number < 255 else "g"


def _checked(
    row: tuple[Any, ...], record: type[Any], names: Sequence[str], hashed: bool
) -> tuple[Any, ...] | None:
    """A row with its texts decoded; None unless every value is of its column's kind."""
    try:
        values = [value.decode("utf-8") if isinstance(value, bytes) else value for value in row]
    except UnicodeDecodeError:
        return None
    if hashed and not (isinstance(values[0], str) and _KEY.fullmatch(values[0])):
        return None
    for at, name in enumerate(names):
        if name in BOOLEANS and values[at] in (0, 1):
            values[at] = bool(values[at])
    return None if misfit(record, values) else tuple(values)
