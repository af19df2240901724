"""One process at a time works on a folder or a file.

The kernel's lock says so where the file system knows locks: it is let go when the process ends,
however that happens. Some network file systems know none; that is found out by trying, and there a
file beside it names the owner (made by ``O_EXCL``, which every file system does in one step). One
that was left behind by a process of this machine is noticed; whether a process of another machine
is still alive, nobody here can know, so that is asked of the user.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
from pathlib import Path
from typing import Any

from bfpo_bench.common import processes
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.file_system import flock_holds

log = logging.getLogger(__name__)

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
        while True:
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
            # No forked child keeps it.
            processes.locks.add(self._descriptor)
            try:
                self._owner = _take(self._descriptor, file, place, taken)
                if self._is_there():
                    return
            except BaseException:
                self._close()
                raise
            self._close()  # somebody was just done with it, and has removed the file

    @property
    def by_kernel(self) -> bool:
        """Whether the file system knows locks."""
        return self._owner is None

    def close(self) -> None:
        """Lets it go; in a forked child, which has none, nothing happens."""
        if self._descriptor in processes.locks:
            if not self._keep:
                self._file.unlink(missing_ok=True)
            self._close()

    def _close(self) -> None:
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


def _take(descriptor: int, file: Path, place: Path, taken: str) -> Path | None:
    """Locks an open file; where that cannot be done, returns the file that names the owner."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not flock_holds(descriptor, file):
            raise OSError(errno.ENOLCK, "it gives one lock to two")
    except OSError as error:
        if error.errno in _TAKEN:
            raise BadInput(taken) from None
        # ".lock" has ".owner" beside it, ".NAME.lock" and "NAME" have ".NAME.owner".
        name = file.name.removesuffix(".lock")
        owner = file.with_name(f"{name if file.name.startswith('.') else f'.{name}'}.owner")
        _name_owner(owner, place)
        log.warning(
            "%s lies on a file system without locks (%s); %s keeps other processes away instead.",
            *(place, error.strerror, owner.name),
        )
        return owner
    return None


def _name_owner(owner: Path, place: Path) -> None:
    import psutil

    me = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }
    for _ in range(2):
        try:
            with owner.open("x", encoding="utf-8") as file:
                json.dump(me, file)
                file.flush()
                os.fsync(file.fileno())
            return
        except FileExistsError:
            other = _read(owner)
            if not _is_gone(other) or not _clear(owner, other):
                break
            log.warning("%s was left behind by process %s, which is gone.", owner, other["pid"])
        except OSError as error:
            raise BadInput(
                f"cannot write {owner} ({error.strerror}), which would keep other processes away "
                f"from {place}; choose a folder that takes files."
            ) from error
    other = _read(owner)
    raise BadInput(
        f"process {other.get('pid', 'unknown')} on machine {other.get('host', 'unknown')} is "
        f"working on {place}, which lies on a file system without locks; wait for it, or delete "
        f"{owner} if that process is gone."
    )


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
