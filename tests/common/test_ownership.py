"""File systems without locks: never two processes on one run, never an unlocked one in silence."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common import ownership
from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.judge_file import _locked
from bfpo_bench.run.directory import RunDirectory
from tests.small_disk import disk_is_full

IDENTITY: dict[str, Any] = {"tasks": {}, "data": {}}


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_an_owner_file_stands_in_for_the_lock(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), RunDirectory(tmp_path, IDENTITY) as run:
        [said] = caplog.messages
        assert said.startswith(f"{tmp_path} lies on a file system without locks (")
        assert said.endswith("); .owner keeps other processes away instead.")
        named = json.loads((tmp_path / ".owner").read_text())
        assert (named["host"], named["pid"]) == (socket.gethostname(), os.getpid())
        with pytest.raises(BadInput) as caught:
            RunDirectory(tmp_path, IDENTITY)
        assert str(caught.value) == (
            f"process {os.getpid()} on machine {socket.gethostname()} is working on {tmp_path}, "
            "which lies on a file system without locks; wait for it, or delete "
            f"{tmp_path}/.owner if that process is gone."
        )
        with run.open_store() as store:
            assert store.select("PRAGMA journal_mode") == [("truncate",)]
        assert caplog.messages[-1] == (
            f"{tmp_path}/samples.sqlite is written without a write-ahead log: its file system has "
            "no locks."
        )
        # Who was turned away has not taken the owner's file along.
        assert (tmp_path / ".owner").exists()
    assert not (tmp_path / ".owner").exists()
    RunDirectory(tmp_path, IDENTITY).close()


@pytest.mark.usefixtures("no_locks")
def test_what_a_dead_process_left_is_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine: dict[str, Any] = {"host": socket.gethostname(), "started": 1.0}
    # The second number belongs to a process again, but to one that began later.
    for pid in (dead.pid, os.getppid()):
        (tmp_path / ".owner").write_text(json.dumps({**mine, "pid": pid}))
        with caplog.at_level(logging.WARNING), RunDirectory(tmp_path, IDENTITY):
            gone = f"process {pid} on machine {socket.gethostname()}, which is gone."
            assert f"was left behind by {gone}" in caplog.text
            assert json.loads((tmp_path / ".owner").read_text())["pid"] == os.getpid()
    assert [p.name for p in tmp_path.glob(".owner*")] == []


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize("text", ['{"host": "elsewhere", "pid": 7, "started": 1.0}', "", "[1]"])
def test_an_owner_that_nobody_here_knows_is_respected(tmp_path: Path, text: str) -> None:
    (tmp_path / ".owner").write_text(text)
    named = "process 7 on machine elsewhere" if "7" in text else "process unknown on machine unkn"
    with pytest.raises(BadInput, match=named):
        RunDirectory(tmp_path, IDENTITY)
    assert (tmp_path / ".owner").read_text() == text
    assert not (tmp_path / "run.json").exists()


def test_of_two_that_find_a_dead_owner_one_gets_the_folder(tmp_path: Path) -> None:
    """The slower one has read the dead owner's name; the quicker one stands there by now."""
    owner = tmp_path / ".owner"
    owner.write_text('{"pid": 1}')
    assert not ownership._clear(owner, {"pid": 0})
    assert owner.read_text() == '{"pid": 1}'
    assert ownership._clear(owner, {"pid": 1})
    assert ownership._clear(owner, {"pid": 1})


@pytest.mark.usefixtures("no_locks")
def test_verdict_files_of_samples_too(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    with _locked(file), pytest.raises(BadInput, match="which lies on a file system without locks"):
        _locked(file).__enter__()
    assert [p.name for p in tmp_path.iterdir()] == ["verdicts.jsonl"]


@pytest.mark.usefixtures("no_locks")
def test_a_folder_that_takes_no_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", disk_is_full)
    with pytest.raises(BadInput, match=r"^cannot write .*\.owner \(No space left on device\), whi"):
        RunDirectory(tmp_path, IDENTITY)
