"""Stores on file systems that cannot carry a write-ahead log."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.run.repair import open_whole
from bfpo_bench.run.store import ItemRecord, Store, journal

ITEM = ItemRecord("task", "one", 0, "{}")


def mounts(tmp_path: Path, kind: str) -> Path:
    """A list of mounts in which a folder lies on a file system of a kind."""
    file = tmp_path / "mounts"
    place = str(tmp_path).replace(" ", "\\040")
    file.write_text(
        "23 1 8:1 / / rw - ext4 /dev/root rw\n"
        f"24 23 0:5 / {place}/run rw,shared:7 master:1 - {kind} server:/x rw\n"
        f"25 23 0:6 / {place}/runs rw - tmpfs none rw\n"
    )
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a b" / "run" / "deep").mkdir(parents=True)
    return tmp_path / "a b"


def mode(store: Store) -> str:
    [(found,)] = store._db.execute("PRAGMA journal_mode")
    return str(found)


@pytest.mark.parametrize(
    ("kind", "network"),
    [("nfs4", True), ("fuse.sshfs", True), ("lustre", True), ("xfs", False), ("fuseblk", False)],
)
def test_the_mount_that_a_folder_lies_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, network: bool
) -> None:
    monkeypatch.setattr(journal, "MOUNTS", mounts(folder, kind))
    assert journal.file_system(folder / "run" / "deep" / "samples.sqlite") == kind
    assert journal.file_system(folder / "run" / "samples.sqlite") == kind
    assert journal.file_system(folder / "runs" / "samples.sqlite") == "tmpfs"
    assert journal.file_system(folder / "samples.sqlite") == "ext4"
    assert journal.is_network(kind) is network
    monkeypatch.setattr(journal, "MOUNTS", folder / "none")
    assert journal.file_system(folder / "samples.sqlite") == ""


def test_this_machines_own_mounts() -> None:
    assert journal.file_system(Path("/proc/self/status")) == "proc"


def test_no_log_on_a_network_file_system(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "run" / "samples.sqlite"
    # Begun on a disk of one machine and killed, with answers in its log, then copied.
    with Store(path) as store:
        store.add_items([ITEM])
        assert mode(store) == "wal"
        for ending in ("", "-wal"):
            copy = path.with_name(f"copy.sqlite{ending}")
            copy.write_bytes(path.with_name(path.name + ending).read_bytes())
    assert path.with_name("copy.sqlite-wal").stat().st_size > 0
    monkeypatch.setattr(journal, "MOUNTS", mounts(folder, "nfs"))
    for file in (path, path.with_name("copy.sqlite")):
        with caplog.at_level(logging.WARNING), open_whole(file) as store:
            assert mode(store) == "truncate"
            store.add_items([ItemRecord("task", "two", 1, "{}")])
            # Whoever looks meanwhile sees what is committed.
            with Store(file, read_only=True) as other:
                assert [item.item for item in other.items("task")] == ["one", "two"]
        assert caplog.messages[-1] == (
            f"{file} is written without a write-ahead log: it lies on a network file system (nfs)."
        )
        assert not file.with_name(f"{file.name}-wal").exists()


def test_a_writer_without_a_log_that_is_killed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, listed = folder / "run" / "samples.sqlite", mounts(folder, "nfs")
    code = Path(__file__).with_name("store_writer.py")
    subprocess.run([sys.executable, str(code), str(path), str(listed)], timeout=60)
    hot = path.with_name(f"{path.name}-journal")
    assert hot.stat().st_size > 0
    monkeypatch.setattr(journal, "MOUNTS", listed)
    with open_whole(path) as store:
        assert [item.item for item in store.items("t")] == ["before"]
        assert store.select("PRAGMA integrity_check") == [("ok",)]
    assert not hot.exists() or not hot.stat().st_size


class NoSharedMemory(sqlite3.Connection):
    """SQLite where memory cannot be shared beside the file: the log opens, using it fails."""

    def execute(self, query: str, *values: Any) -> Any:
        if query == "BEGIN IMMEDIATE":
            [(mode,)] = super().execute("PRAGMA journal_mode")
            if mode == "wal":
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR | (20 << 8)  # SQLITE_IOERR_SHMMAP
                raise error
        return super().execute(query, *values)


def test_a_log_that_cannot_be_used_is_found_out_by_trying(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "factory": NoSharedMemory})
    )
    path = folder / "samples.sqlite"
    with caplog.at_level(logging.WARNING), Store(path) as store:
        store.add_items([ITEM])
        assert mode(store) == "truncate"
    assert caplog.messages == [f"{path} is written without a write-ahead log: disk I/O error."]
    monkeypatch.undo()
    with Store(path) as store:
        assert [item.item for item in store.items("task")] == ["one"]


def test_without_any_locks_sqlite_asks_for_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    path = folder / "run" / "samples.sqlite"
    assert journal.has_locks(folder)
    monkeypatch.setattr(fcntl, "lockf", refuse)
    monkeypatch.setattr(journal, "MOUNTS", mounts(folder, "nfs"))
    assert not journal.has_locks(folder)
    with Store(path) as store:
        # Somebody's lock would keep SQLite out if it looked for any.
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("BEGIN EXCLUSIVE")
            store.add_items([ITEM])
        assert "nolock=1" in journal.address_to_read(path)
        with Store(path, read_only=True) as reader:
            assert [item.item for item in reader.items("task")] == ["one"]
