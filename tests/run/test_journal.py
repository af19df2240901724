"""Stores on file systems that cannot carry a write-ahead log."""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.run.repair import open_whole
from bfpo_bench.run.store import ItemRecord, Store, journal

ITEM = ItemRecord("task", "one", 0, "{}")


def mode(store: Store) -> str:
    [(found,)] = store._db.execute("PRAGMA journal_mode")
    return str(found)


def test_no_log_on_a_network_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "samples.sqlite"
    # Begun on a disk of one machine and killed, with answers in its log, then copied.
    with Store(path) as store:
        store.add_items([ITEM])
        assert mode(store) == "wal"
        for ending in ("", "-wal"):
            copy = path.with_name(f"copy.sqlite{ending}")
            copy.write_bytes(path.with_name(path.name + ending).read_bytes())
    assert path.with_name("copy.sqlite-wal").stat().st_size > 0
    monkeypatch.setattr(journal, "is_own", lambda _: False)
    for file in (path, path.with_name("copy.sqlite")):
        with caplog.at_level(logging.WARNING), open_whole(file) as store:
            assert mode(store) == "truncate"
            store.add_items([ItemRecord("task", "two", 1, "{}")])
            # Whoever looks meanwhile sees what is committed.
            with Store(file, read_only=True) as other:
                assert [item.item for item in other.items("task")] == ["one", "two"]
        assert caplog.messages[-1] == (
            f"{file} is written without a write-ahead log: its file system may be "
            "shared with other machines."
        )
        assert not file.with_name(f"{file.name}-wal").exists()


def test_a_writer_without_a_log_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "samples.sqlite"
    code = Path(__file__).with_name("store_writer.py")
    subprocess.run([sys.executable, str(code), str(path)], timeout=60)
    hot = path.with_name(f"{path.name}-journal")
    assert hot.stat().st_size > 0
    # A copy is whole again before anybody has mended the store itself.
    monkeypatch.setattr(journal, "has_locks", lambda _: False)
    with Store(path, read_only=True) as reader:
        assert [item.item for item in reader.items("t")] == ["before"]
    assert hot.stat().st_size > 0
    monkeypatch.undo()
    monkeypatch.setattr(journal, "is_own", lambda _: False)
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "factory": NoSharedMemory})
    )
    path = tmp_path / "samples.sqlite"
    with caplog.at_level(logging.WARNING), Store(path) as store:
        store.add_items([ITEM])
        assert mode(store) == "truncate"
    assert caplog.messages == [f"{path} is written without a write-ahead log: disk I/O error."]
    monkeypatch.undo()
    with Store(path) as store:
        assert [item.item for item in store.items("task")] == ["one"]


def test_without_any_locks_sqlite_asks_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    path = tmp_path / "samples.sqlite"
    # Begun where there are locks, and closed with all that was in its log.
    with Store(path) as store:
        assert mode(store) == "wal"
    monkeypatch.setattr(fcntl, "lockf", refuse)
    with Store(path) as store:
        assert mode(store) == "truncate"
        # Somebody's lock would keep SQLite out if it looked for any.
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("BEGIN EXCLUSIVE")
            store.add_items([ITEM])
        with Store(path, read_only=True) as reader:
            assert [item.item for item in reader.items("task")] == ["one"]


def test_a_log_of_another_machine_is_read_in_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is a disk of the machine that writes, and comes over the network to this one."""
    path = tmp_path / "samples.sqlite"
    with Store(path) as store:
        store.add_items([ITEM])
        assert mode(store) == "wal"
        monkeypatch.setattr(journal, "is_own", lambda _: False)
        before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
        with Store(path, read_only=True) as reader:
            store.add_items([ItemRecord("task", "two", 1, "{}")])
            assert [item.item for item in reader.items("task")] == ["one"]
        assert before.keys() == {"samples.sqlite", "samples.sqlite-wal", "samples.sqlite-shm"}
    # Folded in, but written in a way that needs shared memory, which there is none of here.
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: _Unshared(*a, **k))
    with Store(path, read_only=True) as reader:
        assert [item.item for item in reader.items("task")] == ["one", "two"]


class _Unshared(sqlite3.Connection):
    """SQLite, of files that cannot be mapped into memory."""

    def __init__(self, address: str, **options: Any) -> None:
        super().__init__(address, **options)
        self.alone = "immutable" in address

    def execute(self, query: str, *values: Any) -> Any:
        if not self.alone:
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        return super().execute(query, *values)


def test_readers_without_locks_see_whole_answers_or_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "samples.sqlite"
    code = Path(__file__).with_name("pair_writer.py")
    writer = subprocess.Popen([sys.executable, str(code), str(path)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        monkeypatch.setattr(journal, "has_locks", lambda _: False)
        # However late the writer or the reader gets its turn, there is a moment between two writes.
        monkeypatch.setattr(journal, "LOOKS", 10_000)
        monkeypatch.setattr(journal, "LOOK_SECONDS", 0.01)
        seen: list[int] = []
        deadline = time.monotonic() + 60
        while len(seen) < 12 or seen[-1] == seen[0]:
            with Store(path, read_only=True) as reader:
                seen.append(len(reader.items("t")))
            assert time.monotonic() < deadline, seen
        assert all(count % 2 == 0 for count in seen)
        assert seen == sorted(seen)
    finally:
        writer.kill()
        writer.communicate()
    monkeypatch.setattr(journal, "LOOKS", 3)
    monkeypatch.setattr(journal, "_state", lambda _: (next(ticks), 0, 0, b""))
    with pytest.raises(RunFailed, match="is written all the time; look again later"):
        Store(path, read_only=True)


ticks = itertools.count()
