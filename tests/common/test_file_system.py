"""What a file system can do, found out by trying: with one that can, and one that refuses."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common import file_system

TRIALS = (file_system.has_locks, file_system.shares_memory, file_system.is_own)


def test_a_disk_of_this_machine_can_do_all(tmp_path: Path) -> None:
    assert [trial(tmp_path) for trial in TRIALS] == [True, True, True]
    assert not list(tmp_path.iterdir())


def test_where_no_file_can_be_made_nothing_is_said_against_it(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert file_system.has_locks(missing)
    assert file_system.shares_memory(missing)


def _refused(number: int) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def _both_get_it(_: int, command: int, *__: object) -> bytes:
    assert command == fcntl.F_OFD_SETLK
    return b""


@pytest.mark.parametrize(
    ("module", "name", "fake", "able"),
    [
        (fcntl, "lockf", _refused(errno.ENOLCK), (False, True, True)),
        (fcntl, "lockf", _refused(errno.ENOSYS), (False, True, True)),
        (fcntl, "fcntl", _both_get_it, (False, True, True)),
        (fcntl, "lockf", _refused(errno.EAGAIN), (True, True, True)),
        (mmap, "mmap", _refused(errno.ENODEV), (True, False, True)),
        # Memory of their own, as on a disk that keeps a copy for each who opens a file.
        (mmap, "mmap", lambda _, size: mmap_of_its_own(-1, size), (True, False, True)),
        (os, "O_TMPFILE", os.O_DIRECTORY | os.O_CREAT, (True, True, False)),
    ],
)
def test_what_is_refused_is_found_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    fake: Any,
    able: tuple[bool, bool, bool],
) -> None:
    monkeypatch.setattr(module, name, fake)
    assert tuple(trial(tmp_path) for trial in TRIALS) == able
    assert not list(tmp_path.iterdir())


mmap_of_its_own = mmap.mmap


def test_a_lock_that_two_get_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "file").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert file_system.flock_holds(file.fileno(), tmp_path / "file")
        monkeypatch.setattr(fcntl, "flock", lambda *_: None)
        assert not file_system.flock_holds(file.fileno(), tmp_path / "file")
        # Somebody was done with it and has removed it: it is no longer the same file.
        (tmp_path / "file").unlink()
        assert file_system.flock_holds(file.fileno(), tmp_path / "file")
