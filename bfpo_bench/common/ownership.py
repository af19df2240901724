"""One process at a time works on a folder or a file.

The kernel's lock says so where the file system knows locks: it is let go when the process ends,
however that happens. Some network file systems know none; that is found out by trying, and there a
file beside it names the owner (made by ``O_EXCL``, which every file system does in one step). One
that was left behind by a process of this machine is noticed; whether a process of another machine
is still alive, nobody here can know, so that is asked of the user.

Where other machines may look on, a lock may reach no further than this one (NFS mounted with
``nolock``, Lustre with ``localflock``), and no trial here can tell. There the owner is named
besides, and gives signs of life: who has the kernel's lock and finds an owner on another machine
waits for one, and takes over when none comes.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bfpo_bench.common import processes
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.file_system import flock_holds, is_own

log = logging.getLogger(__name__)

BEAT_SECONDS, WATCH_SECONDS = 5.0, 30.0
"""How often an owner gives a sign of life, and how long one is waited for."""

_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class Lock:
    """This process's right to a folder or a file, until it is closed or the process ends.

    Args:
        file: what is locked, made when it is not there: the place itself, or a file for it.
        place: what it is the right to, to be named to others.
        taken: what to tell somebody who comes second.
        keep: the file stays when the lock is closed.

    Raises:
        BadInput: somebody else has it.
        OSError: the file cannot be opened.
    """

    def __init__(self, file: Path, place: Path, taken: str, *, keep: bool = True) -> None:
        self._file, self._keep = file, keep
        self._owner: Path | None = None
        self._locks, self._ended = True, threading.Event()
        while True:
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
            # No forked child keeps it.
            processes.locks.add(self._descriptor)
            try:
                why = _take(self._descriptor, file, taken)
                self._locks = why is None
                if why is not None or not is_own(file.parent):
                    self._owner = _name_owner(file, place, self._locks)
                if self._is_there():
                    self._begin(place, why)
                    return
            except BaseException:
                self._close()
                raise
            self._close()  # somebody was just done with it, and has removed the file

    @property
    def by_kernel(self) -> bool:
        """Whether the file system knows locks."""
        return self._locks

    def close(self) -> None:
        """Lets it go; in a forked child, which has none, nothing happens."""
        if self._descriptor in processes.locks:
            if not self._keep:
                self._file.unlink(missing_ok=True)
            self._close()

    def _begin(self, place: Path, why: str | None) -> None:
        if self._owner is None:
            return
        if why is not None:
            log.warning(
                "%s lies on a file system without locks (%s); %s keeps other processes away "
                "instead.",
                *(place, why, self._owner.name),
            )
        threading.Thread(target=self._beat, args=(self._owner,), daemon=True).start()

    def _beat(self, owner: Path) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(OSError):
                os.utime(owner)

    def _close(self) -> None:
        self._ended.set()
        if self._owner is not None and _read(self._owner).get("pid") == os.getpid():
            self._owner.unlink(missing_ok=True)
        processes.locks.discard(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._file.stat())
        except FileNotFoundError:
            return False


def _take(descriptor: int, file: Path, taken: str) -> str | None:
    """Locks an open file; where that cannot be done, says why."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            raise BadInput(taken) from None
        return str(error.strerror)
    return None if flock_holds(descriptor, file) else "it gives one lock to two"


def _name_owner(file: Path, place: Path, locked: bool) -> Path:
    """Makes the file that names this process the owner of what ``file`` is the lock of.

    Args:
        locked: this process has the kernel's lock, and only another machine can be in its way.
    """
    import psutil

    # ".lock" has ".owner" beside it, ".NAME.lock" and "NAME" have ".NAME.owner".
    name = file.name.removesuffix(".lock")
    owner = file.with_name(f"{name if file.name.startswith('.') else f'.{name}'}.owner")
    me = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }
    for _ in range(2):
        try:
            with owner.open("x", encoding="utf-8") as opened:
                json.dump(me, opened)
                opened.flush()
                os.fsync(opened.fileno())
            return owner
        except FileExistsError:
            other = _read(owner)
            gone = _is_gone(other) or (locked and not _lives(owner, other))
            if not gone or not _clear(owner, other):
                break
            who = f"{other.get('pid', 'unknown')} on machine {other.get('host', 'unknown')}"
            log.warning("%s was left behind by process %s, which is gone.", owner, who)
        except OSError as error:
            raise BadInput(
                f"cannot write {owner} ({error.strerror}), which would keep other processes away "
                f"from {place}; choose a folder that takes files."
            ) from error
    other = _read(owner)
    where = "where locks reach no further than a machine" if locked else "without locks"
    raise BadInput(
        f"process {other.get('pid', 'unknown')} on machine {other.get('host', 'unknown')} is "
        f"working on {place}, which lies on a file system {where}; wait for it, or delete "
        f"{owner} if that process is gone."
    )


def _lives(owner: Path, other: dict[str, Any]) -> bool:
    """Whether an owner gives a sign of life; on this machine it would have the lock."""
    if other.get("host") == socket.gethostname():
        return False
    log.warning(
        "Process %s on machine %s had %s; waiting up to %d s for a sign of life of it.",
        *(other.get("pid", "unknown"), other.get("host", "unknown"), owner, WATCH_SECONDS),
    )
    before, until = _beats(owner), time.monotonic() + WATCH_SECONDS
    while (now := _beats(owner)) == before and time.monotonic() < until:
        time.sleep(min(0.5, WATCH_SECONDS / 4))
    return now is not None and now != before


def _beats(owner: Path) -> int | None:
    try:
        # Opening asks other machines for the newest.
        with owner.open("rb") as opened:
            return os.fstat(opened.fileno()).st_mtime_ns
    except OSError:
        return None


def _read(owner: Path) -> dict[str, Any]:
    try:
        content = json.loads(owner.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_gone(other: dict[str, Any]) -> bool:
    """Whether an owner was a process of this machine and is none any more."""
    import psutil

    if other.get("host") != socket.gethostname() or not isinstance(other.get("pid"), int):
        return False
    try:
        # Its number may be another's by now.
        started = psutil.Process(other["pid"]).create_time()
    except psutil.NoSuchProcess:
        return True
    noted = other.get("started", started)
    return isinstance(noted, int | float) and abs(started - noted) > 2


def _clear(owner: Path, other: dict[str, Any]) -> bool:
    """Takes a left-over file away; False where somebody else was quicker and owns it now."""
    aside = owner.with_name(f"{owner.name}.{os.getpid()}")
    try:
        owner.rename(aside)
    except FileNotFoundError:
        return True
    if _read(aside) == other:
        aside.unlink(missing_ok=True)
        return True
    aside.rename(owner)
    return False
