"""How SQLite keeps a store whole, by what the file system can do.

A write-ahead log lets readers look on while a run writes, but it lives in memory that only the
processes of one machine share, so it must not lie on a network file system; and where a file system
knows no locks, SQLite must not ask for any. Both are found out when a store is opened for writing.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sqlite3
import tempfile
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

MOUNTS = Path("/proc/self/mountinfo")

NETWORK = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "coda", "ceph", "glusterfs"),
        *("lustre", "gpfs", "beegfs", "pvfs2", "orangefs", "panfs", "wekafs", "ocfs2", "gfs2"),
        *("vboxsf", "virtiofs", "prl_fs"),
    )
)
"""Kinds of file systems that several machines may see. All of FUSE is taken for one of them."""

PATIENCE = 600.0
"""Seconds that a writer without a log waits for those who read."""

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
    kind = file_system(path)
    why = None if locks else "its file system has no locks"
    if is_network(kind):
        why = f"it lies on a network file system ({kind})"
    if why is None:
        db = sqlite3.connect(path, isolation_level=None)
        try:
            why = _try_log(db, path)
        except sqlite3.Error:
            db.close()
            raise
        if why is None:
            db.execute("PRAGMA synchronous=NORMAL")
            return db
        db.close()
    log.warning("%s is written without a write-ahead log: %s.", path, why)
    unlocked = not has_locks(path.parent)
    address = f"{path.absolute().as_uri()}{'?nolock=1' if unlocked else ''}"
    db = sqlite3.connect(address, uri=True, isolation_level=None, timeout=PATIENCE)
    # Alone, SQLite needs no shared memory, not even to fold in a log that is there already.
    db.execute("PRAGMA locking_mode=EXCLUSIVE")
    db.execute("PRAGMA journal_mode=TRUNCATE")
    db.execute("PRAGMA locking_mode=NORMAL")
    # Only the next look at the file lets its lock go.
    db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    return db


def address_to_read(path: Path) -> str:
    """The address under which SQLite opens a file for reading alone."""
    # In a folder that takes no files, SQLite cannot share a log with a writer; where there is no
    # log, there is no writer either, and the file may be read as it is.
    writable = os.access(path.parent, os.W_OK)
    alone = not writable and not path.with_name(f"{path.name}-wal").exists()
    unlocked = writable and is_network(file_system(path)) and not has_locks(path.parent)
    more = "&immutable=1" if alone else "&nolock=1" if unlocked else ""
    return f"{path.absolute().as_uri()}?mode=ro{more}"


def file_system(path: Path) -> str:
    """Kind of the file system that a path lies on, such as ``ext4``; "" where nobody tells."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        place = path.absolute().parent.resolve()
    except OSError:
        return ""
    found, depth = "", -1
    for line in lines:
        # 36 35 98:0 /root /mount/point rw - kind source …; blanks in a name are written \040.
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        mount = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        # Of several at one place, the last covers the others.
        if place.is_relative_to(mount) and len(mount.parts) >= depth:
            found, depth = after.split(" ")[0], len(mount.parts)
    return found


def is_network(kind: str) -> bool:
    """Whether several machines may see a file system of this kind."""
    return kind in NETWORK or kind.startswith("fuse.")


def has_locks(folder: Path) -> bool:
    """Whether files in a folder can be locked as SQLite does it; True where none can be made."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                return True
            except OSError:
                return False
    except OSError:
        return True
    return True


def _try_log(db: sqlite3.Connection, path: Path) -> str | None:
    """Why the connection cannot have a write-ahead log; None if it has one now."""
    try:
        [(mode,)] = db.execute("PRAGMA journal_mode=WAL")
        db.execute("BEGIN IMMEDIATE")
        db.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        # Where there are no locks, SQLite takes that for a lock that somebody holds.
        kind = error.sqlite_errorcode & 0xFF
        missing = kind == sqlite3.SQLITE_BUSY and not has_locks(path.parent)
        if kind in _UNFIT or missing:
            return str(error)
        raise
    return None if mode == "wal" else f"SQLite keeps to the journal mode {mode!r} there"
