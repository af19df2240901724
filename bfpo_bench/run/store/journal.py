"""How SQLite keeps a store whole, by what the file system can do.

A write-ahead log lets readers look on while a run writes, but it lives in memory that only the
processes of one machine share, so it must not lie where other machines look on; and where a file
system knows no locks, SQLite must not ask for any. What there is is tried each time that a store is
opened (:mod:`bfpo_bench.common.file_system`).
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.file_system import has_locks, is_own, shares_memory

log = logging.getLogger(__name__)

PATIENCE = 600.0
"""Seconds that a writer without a log waits for those who read."""

LOOKS, LOOK_SECONDS = 20, 0.5
"""How often a reader without locks looks for a moment in which nobody writes, and how long after
the last time."""

_UNFIT = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CANTOPEN)
"""What SQLite says where it cannot share memory beside the file."""


def open_to_write(path: Path, locks: bool = True) -> sqlite3.Connection:
    """A connection that survives a kill at any time, with a write-ahead log where one is safe.

    Says so in one line where none is. Transactions are the caller's to begin.

    Args:
        locks: False where the file system was seen to have none of another kind (``flock``).

    Raises:
        sqlite3.Error: the file cannot be used at all.
    """
    # SQLite would let nobody but the owner write, whatever the umask says.
    with suppress(OSError):
        path.touch(exist_ok=False)
    why = _why_no_log(path.parent, locks)
    if why is None:
        db = sqlite3.connect(path, isolation_level=None)
        try:
            why = _try_log(db)
        except sqlite3.Error:
            db.close()
            raise
        if why is None:
            db.execute("PRAGMA synchronous=NORMAL")
            return db
        db.close()
    log.warning("%s is written without a write-ahead log: %s.", path, why)
    unlocked = not has_locks(path.parent)
    address = f"{path.absolute().as_uri()}{'?vfs=unix-none' if unlocked else ''}"
    db = sqlite3.connect(address, uri=True, isolation_level=None, timeout=PATIENCE)
    # Alone, SQLite needs no shared memory, not even to fold in a log that is there already.
    db.execute("PRAGMA locking_mode=EXCLUSIVE")
    db.execute("PRAGMA journal_mode=TRUNCATE")
    db.execute("PRAGMA locking_mode=NORMAL")
    # Only the next look at the file lets its lock go.
    db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    return db


def _why_no_log(folder: Path, locks: bool = True) -> str | None:
    """Why a store in a folder should have no write-ahead log; None where nothing speaks against it.

    Args:
        locks: as of :func:`open_to_write`.
    """
    if not locks or not has_locks(folder):
        return "its file system has no locks"
    if not shares_memory(folder):
        return "its file system shares no memory"
    if not is_own(folder):
        return "its file system may be shared with other machines"
    return None


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that only looks, and sees whole answers whoever writes meanwhile, and where.

    Raises:
        sqlite3.Error: the file cannot be used.
        RunFailed: it is being written all the time where nothing but luck would show it whole.
    """
    folder, logged = path.parent, path.with_name(f"{path.name}-wal").exists()
    alone = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    if os.access(folder, os.W_OK):
        # A log beside it is shared by those on the machine that writes, which may be another one.
        if not (is_own(folder) if logged else has_locks(folder)):
            return _copied(path)
    elif not logged:
        # In a folder that takes no files, SQLite cannot share a log with a writer; where there is
        # no log, there is no writer either, and the file may be read as it is.
        return sqlite3.connect(alone, isolation_level=None, uri=True)
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", isolation_level=None, uri=True)
    try:
        db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        # A log that was folded in, on a disk where memory could be shared.
        db.close()
        if logged or error.sqlite_errorcode & 0xFF not in _UNFIT:
            raise
        db = sqlite3.connect(alone, isolation_level=None, uri=True)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _copied(path: Path) -> sqlite3.Connection:
    """A copy of a store, with all that SQLite has beside it, in which nothing changed meanwhile."""
    parts = [path.with_name(path.name + ending) for ending in ("", "-journal", "-wal")]
    with tempfile.TemporaryDirectory(prefix="bfpo-") as folder:
        for again in range(LOOKS):
            if again:
                time.sleep(LOOK_SECONDS)
            before = [_state(part) for part in parts]
            for part, state in zip(parts, before, strict=True):
                copy = Path(folder, part.name)
                copy.unlink(missing_ok=True)
                if state is not None:
                    with suppress(FileNotFoundError):
                        shutil.copyfile(part, copy)
            if before == [_state(part) for part in parts]:
                break
        else:
            raise RunFailed(
                f"{path} lies on a file system where readers cannot keep writers waiting, and is "
                "written all the time; look again later."
            )
        db = sqlite3.connect(Path(folder, path.name), isolation_level=None)
        # What a killed writer has left half done is undone, and its log folded in, before the
        # folder goes.
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA journal_mode=MEMORY")
        db.execute("PRAGMA query_only=ON")
    return db


def _state(file: Path) -> tuple[int, int, int, bytes] | None:
    """What changes with every transaction. Opening asks other machines for the newest."""
    try:
        with file.open("rb") as opened:
            found = os.fstat(opened.fileno())
            # Of a database: its header, which counts transactions.
            return found.st_ino, found.st_size, found.st_mtime_ns, opened.read(100)
    except FileNotFoundError:
        return None


def _try_log(db: sqlite3.Connection) -> str | None:
    """Why the connection cannot have a write-ahead log; None if it has one now."""
    try:
        [(mode,)] = db.execute("PRAGMA journal_mode=WAL")
        db.execute("BEGIN IMMEDIATE")
        db.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        kind = error.sqlite_errorcode & 0xFF
        if kind in _UNFIT:
            return str(error)
        raise
    return None if mode == "wal" else f"SQLite keeps to the journal mode {mode!r} there"
