"""``--local-scratch``: a store on the node's own disk, and what the run directory holds when."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.run import local_store
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.session import Session
from bfpo_bench.run.store import ItemRecord, Store
from tests.small_disk import SmallDisk, disk_is_full

IDENTITY: dict[str, Any] = {"tasks": {}, "data": {}}


def items(run: Path) -> list[str]:
    """What somebody who looks at a run directory sees."""
    with Store(run / "samples.sqlite", read_only=True) as store:
        return sorted(item.item for item in store.items("t"))


def add(store: Store, *names: str, row: str = "{}") -> None:
    store.add_items(ItemRecord("t", name, 0, row) for name in names)


def killed(run: Path, scratch: Path, *what: str) -> None:
    code = Path(__file__).with_name("local_store_writer.py")
    done = subprocess.run([sys.executable, str(code), str(run), str(scratch), *what], timeout=60)
    assert done.returncode == -9


def interrupted(directory: RunDirectory) -> None:
    """Three stages, of which the last is interrupted."""
    run = directory.path
    with directory.open_store() as store:
        session = Session(directory)
        with session.timed("prepare"):
            add(store, "one")
            assert items(run) == []
        assert items(run) == ["one"]
        before = (run / "samples.sqlite").stat()
        with session.timed("collect"):
            pass
        assert os.path.samestat(before, (run / "samples.sqlite").stat())
        with session.timed("score"):
            add(store, "two")
            raise KeyboardInterrupt


def test_it_is_copied_at_the_end_of_each_stage_and_at_the_end(tmp_path: Path) -> None:
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    with RunDirectory(run, IDENTITY, local_scratch=scratch) as directory:
        with pytest.raises(KeyboardInterrupt):
            interrupted(directory)
        assert items(run) == ["one", "two"]
        assert list(scratch.iterdir()) == []
    assert sorted(p.name for p in run.iterdir()) == [".lock", "run.json", "samples.sqlite"]
    # The same as one that was written in its place, for whoever goes on without a scratch folder.
    with RunDirectory(run, IDENTITY) as directory, directory.open_store() as store:
        add(store, "three")
    with RunDirectory(tmp_path / "plain", IDENTITY) as other, other.open_store() as store:
        add(store, "one", "two", "three")
    dumps = []
    for folder in (run, tmp_path / "plain"):
        with closing(sqlite3.connect(folder / "samples.sqlite")) as db:
            dumps.append(list(db.iterdump()))
    assert dumps[0] == dumps[1]


def test_what_a_killed_job_has_left_on_its_node(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, here, there = tmp_path / "run", tmp_path / "here", tmp_path / "there"
    killed(run, here, "one", "stage", "two")
    assert items(run) == ["one"]
    with caplog.at_level(logging.WARNING):
        # On the same node, and killed again, before a first stage has ended.
        killed(run, here, "three")
        assert items(run) == ["one", "two"]
        # On another node, which sees the run directory alone.
        killed(run, there, "four", "stage")
        assert items(run) == ["four", "one", "two"]
        assert caplog.messages == []
        with RunDirectory(run, IDENTITY, local_scratch=here) as directory:
            with directory.open_store() as store:
                assert len(store.items("t")) == 3
                add(store, "five")
            assert items(run) == ["five", "four", "one", "two"]
        [said] = caplog.messages
        assert said.endswith(" is of an earlier state of the run, and is done with.")
    assert list(here.iterdir()) == []
    # Nor is what was left of a run that was begun again.
    with RunDirectory(run, IDENTITY, True, there) as directory, directory.open_store() as store:
        assert store.items("t") == []


def test_a_kill_between_the_copy_and_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the two copies is there, what the scratch folder holds goes on from it."""
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    killed(run, scratch, "one", "stage", "two")
    with RunDirectory(run, IDENTITY, local_scratch=scratch) as directory:
        monkeypatch.setattr(local_store, "put_file", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            directory.open_store()
        monkeypatch.undo()
        assert items(run) == ["one"]
        with directory.open_store() as store:
            assert {item.item for item in store.items("t")} == {"one", "two"}


def test_a_run_that_was_left_half_written_is_mended_first(tmp_path: Path) -> None:
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    code = (
        "import os, pathlib, sys\n"
        "from bfpo_bench.run.directory import RunDirectory\n"
        "from bfpo_bench.run.store import ItemRecord\n"
        "run = RunDirectory(pathlib.Path(sys.argv[1]), {'tasks': {}, 'data': {}})\n"
        "run.open_store().add_items([ItemRecord('t', 'one', 0, '{}')])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(run)], timeout=60)
    assert (run / "samples.sqlite-wal").stat().st_size > 0
    with RunDirectory(run, IDENTITY, local_scratch=scratch) as directory:
        with directory.open_store() as store:
            add(store, "two")
        assert items(run) == ["one", "two"]
        # Whoever looks holds a log open that would be played into the store's next copy.
        with RunDirectory(tmp_path / "other", IDENTITY) as other, other.open_store() as store:
            add(store, "one")
            (tmp_path / "other" / ".lock").unlink()
            with (
                RunDirectory(tmp_path / "other", IDENTITY, local_scratch=scratch) as twin,
                pytest.raises(
                    BadInput, match=r"^somebody is looking at .*/other/samples\.sqlite; "
                ),
            ):
                twin.open_store()


@pytest.mark.parametrize(
    ("number", "why"),
    [(errno.EROFS, "Read-only file system"), (errno.ENOSPC, "No space left on device")],
)
def test_a_scratch_folder_that_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, why: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with RunDirectory(tmp_path / "run", IDENTITY, local_scratch=tmp_path / "scratch") as directory:
        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(BadInput) as caught:
            directory.open_store()
    told = str(caught.value)
    assert told.startswith(f"cannot keep the store in {tmp_path}/scratch/run-")
    assert told.endswith(f" ({why}); name another --local-scratch, or leave it out.")


def filled(directory: RunDirectory) -> None:
    with directory.open_store() as store:
        for number in range(100):
            add(store, str(number), row="x" * 50_000)


def test_a_scratch_folder_that_is_full_later(
    tmp_path: Path, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RunFailed("cannot write")

    run, disk = tmp_path / "run", small_disk("1m")
    # Nor has a note of the copies room there.
    monkeypatch.setattr(local_store, "atomic_write", full)
    with RunDirectory(run, IDENTITY, local_scratch=disk) as directory:
        with pytest.raises(RunFailed, match="disk is full"):
            filled(directory)
        kept = len(items(run))
    assert 5 < kept < 20
    monkeypatch.undo()
    small_disk("4m")
    with RunDirectory(run, IDENTITY, local_scratch=disk) as directory:
        with directory.open_store() as store:
            add(store, "more")
        assert len(items(run)) == kept + 1


def test_a_run_directory_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, scratch = tmp_path / "run", tmp_path / "scratch"

    with RunDirectory(run, IDENTITY, local_scratch=scratch) as directory:
        store = directory.open_store()
        add(store, "one")
        monkeypatch.setattr(local_store, "put_file", disk_is_full)
        with pytest.raises(RunFailed) as caught:
            store.close()
        assert str(caught.value).startswith(
            f"cannot copy the store to {run}/samples.sqlite (No space left on device); it stays in "
            f"{scratch}/run-"
        )
        monkeypatch.undo()
        with directory.open_store() as store:
            assert [item.item for item in store.items("t")] == ["one"]
        assert items(run) == ["one"]
    assert sorted(p.name for p in run.iterdir()) == [".lock", "run.json", "samples.sqlite"]
