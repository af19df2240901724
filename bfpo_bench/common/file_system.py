"""What a file system can do, found out by trying it in a folder. Its name would say little: NFS is
mounted with locks or without, FUSE may be anything.

A trial has one new file, opened twice: two descriptions of one file stand to each other as those of
two processes do, so this needs no second process. What no trial on one machine can tell is whether
other machines share the folder. What tells instead is a file that never has a name: only who alone
keeps a directory can make one, for the protocols by which machines share files know them by names.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_BYTES = b"\0" * mmap.PAGESIZE


def has_locks(folder: Path) -> bool:
    """Whether a part of a file can be locked, as SQLite does it, and stays closed to others then.

    True where no file can be made: whoever wants to write there hears of that first.
    """
    return _tried(folder, _locks_hold)


def shares_memory(folder: Path) -> bool:
    """Whether who maps a file into memory, and who reads it, see what others write at once.

    True where no file can be made.
    """
    return _tried(folder, _is_seen)


def is_own(folder: Path) -> bool:
    """Whether no other machine can see into a folder; False wherever that is not certain."""
    nameless = getattr(os, "O_TMPFILE", None)
    if nameless is None:  # no Linux
        return True
    try:
        os.close(os.open(folder, nameless | os.O_RDWR, 0o600))
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def flock_holds(descriptor: int, file: Path) -> bool:
    """Whether a file that was just locked (``flock``) is closed to others."""
    try:
        other = os.open(file, os.O_RDWR)
    except OSError:
        return True
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Somebody who was done with it may have removed it, and somebody else made a new one.
        return not os.path.samestat(os.fstat(descriptor), os.fstat(other))
    except OSError:
        return True
    finally:
        os.close(other)


def _tried(folder: Path, trial: Callable[[int, int], bool]) -> bool:
    try:
        with _twice(folder) as (one, other):
            return trial(one, other)
    except OSError:
        return True


@contextmanager
def _twice(folder: Path) -> Iterator[tuple[int, int]]:
    """A new file, with room on the disk, opened twice."""
    one, name = tempfile.mkstemp(prefix=".trial.", suffix=".tmp", dir=folder)
    try:
        try:
            other = os.open(name, os.O_RDWR)
        finally:
            Path(name).unlink()
        try:
            os.write(one, _BYTES)
            yield one, other
        finally:
            os.close(other)
    finally:
        os.close(one)


def _locks_hold(one: int, other: int) -> bool:
    try:
        fcntl.lockf(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False
    if not hasattr(fcntl, "F_OFD_SETLK"):
        return True
    # Of the description, not of the process, whose own lock the first one is. The structure is
    # flock's of fcntl.h: type, whence, start, length (all of the file), and no process.
    wish = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    with suppress(OSError):
        fcntl.fcntl(other, fcntl.F_OFD_SETLK, wish)
        return False
    return True


def _is_seen(one: int, other: int) -> bool:
    try:
        with mmap.mmap(one, len(_BYTES)) as mine, mmap.mmap(other, len(_BYTES)) as theirs:
            mine[0] = 1
            os.pwrite(other, b"\2", 1)
            return (theirs[0], os.pread(other, 1, 0), mine[1]) == (1, b"\1", 2)
    except (OSError, ValueError):
        return False
