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

from bfpo_bench.common.errors import BadInput

log = logging.getLogger(__name__)

_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


def take(descriptor: int, place: Path, taken: str) -> Path | None:
    """Makes this process the owner of a folder or file until the descriptor is closed.

    Args:
        descriptor: of an open file: the place itself, or one in it.
        taken: what to tell somebody who comes second.

    Returns:
        The file that names the owner, to be given to :func:`leave` in the end; None where the
        kernel keeps the lock.

    Raises:
        BadInput: somebody else owns it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            raise BadInput(taken) from None
        owner = place / ".owner" if place.is_dir() else place.with_name(f".{place.name}.owner")
        _name_owner(owner, place)
        log.warning(
            "%s lies on a file system without locks (%s); %s keeps other processes away instead.",
            *(place, error.strerror, owner.name),
        )
        return owner
    return None


def leave(owner: Path) -> None:
    """Removes what :func:`take` has returned, if it still names this process."""
    if _read(owner).get("pid") == os.getpid():
        owner.unlink(missing_ok=True)


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
