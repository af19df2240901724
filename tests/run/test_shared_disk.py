"""Runs on the disk of a cluster, by processes for which it really has no locks or shared memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bfpo_bench.run.store import Store

JOB = """
import logging, pathlib, sys
from bfpo_bench.common import ownership
from bfpo_bench.common.errors import BadInput
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.store import ItemRecord
# However late it comes, the next sign of life is enough for a twin; a dead one's never comes.
ownership.BEAT_SECONDS, ownership.WATCH_SECONDS = 0.1, 60.0 if sys.argv[2] == "twin" else 1.0
logging.basicConfig(format="%(message)s", stream=sys.stdout)
try:
    with RunDirectory(pathlib.Path(sys.argv[1]), {"tasks": {}, "data": {}}) as run:
        with run.open_store() as store:
            [(mode,)] = store.select("PRAGMA journal_mode")
            print(mode, flush=True)
            store.add_items([ItemRecord("t", sys.argv[2], 0, "{}")])
            sys.stdin.read()
            if sys.argv[2] == "killed":
                import os
                os.kill(os.getpid(), 9)
except BadInput as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("a disk without locks needs Linux and a C compiler")
    made = tmp_path_factory.mktemp("shared-disk") / "disk.so"
    source = Path(__file__).parents[1] / "shared_disk.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
    return str(made)


class Node:
    """A machine of a cluster, by its name, for which the disk lacks something."""

    def __init__(self, library: str, disk: Path, lacks: str) -> None:
        self._disk = disk
        self._variables = {
            **os.environ,
            "LD_PRELOAD": library,
            "SHARED_DISK": str(disk),
            "SHARED_DISK_LACKS": lacks,
        }

    def begin(self, host: str, item: str) -> subprocess.Popen[str]:
        """A job that has a run directory until it is told to end."""
        return subprocess.Popen(
            [sys.executable, "-c", JOB, str(self._disk / "run"), item],
            env={**self._variables, "SHARED_DISK_HOST": host},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def said(job: subprocess.Popen[str]) -> list[str]:
    return job.communicate(timeout=100)[0].splitlines()


@pytest.mark.parametrize(
    ("lacks", "mode", "why"), [("", "wal", None), ("mmap", "truncate", "shares no memory")]
)
def test_a_log_only_where_it_is_safe(
    library: str, tmp_path: Path, lacks: str, mode: str, why: str | None
) -> None:
    job = Node(library, tmp_path, lacks).begin("a", "one")
    file = tmp_path / "run" / "samples.sqlite"
    line = f"{file} is written without a write-ahead log: its file system {why}."
    assert said(job) == [*([line] if why else []), mode]
    with Store(file, read_only=True) as store:
        assert [item.item for item in store.items("t")] == ["one"]


@pytest.mark.parametrize("lacks", ["flock,fcntl,mmap,tmpfile", "alone"])
def test_a_twin_without_locks(library: str, tmp_path: Path, lacks: str) -> None:
    """On the same node, on another one, and after the first was killed: never two at a time."""
    node, owner = Node(library, tmp_path, lacks), tmp_path / "run" / ".owner"
    first = node.begin("a", "killed")
    assert first.stdout is not None
    why = "it gives one lock to two" if lacks == "alone" else "Function not implemented"
    assert first.stdout.readline().rstrip() == (
        f"{tmp_path}/run lies on a file system without locks ({why}); .owner keeps other processes "
        "away instead."
    )
    assert first.stdout.readline().endswith("its file system has no locks.\n")
    assert first.stdout.readline() == "truncate\n"
    twins = [node.begin(host, "twin") for host in ("a", "b")]
    line = (
        f"process {first.pid} on machine a is working on {tmp_path}/run, which lies on a file "
        f"system without locks; wait for it, or delete {owner} if that process is gone."
    )
    for twin in twins:
        assert said(twin) == [line]
        assert twin.returncode == 2
    said(first)
    assert first.returncode == -9
    assert said(node.begin("a", "two"))[0] == (
        f"{owner} was left behind by process {first.pid} on machine a, which is gone."
    )
    assert not owner.exists()
    with Store(tmp_path / "run" / "samples.sqlite", read_only=True) as store:
        assert sorted(item.item for item in store.items("t")) == ["killed", "two"]


def test_a_lock_that_reaches_no_further_than_its_node(library: str, tmp_path: Path) -> None:
    """Whoever has it looks whether an owner on another node is alive."""
    node, owner = Node(library, tmp_path, "near,tmpfile"), tmp_path / "run" / ".owner"
    first = node.begin("a", "killed")
    assert first.stdout is not None
    assert "shared with other machines" in first.stdout.readline()
    assert first.stdout.readline() == "truncate\n"
    twins = [node.begin(host, "twin") for host in ("a", "b")]
    near, far = (said(twin) for twin in twins)
    assert near == [
        f"another process is working on {tmp_path}/run; wait for it or use another run directory."
    ]
    waits = f"Process {first.pid} on machine a had {owner}; waiting up to {{}} s for a sign of life"
    assert far == [
        f"{waits.format(60)} of it.",
        f"process {first.pid} on machine a is working on {tmp_path}/run, which lies on a file "
        "system where locks reach no further than a machine; wait for it, or delete "
        f"{owner} if that process is gone.",
    ]
    assert [twin.returncode for twin in twins] == [2, 2]
    said(first)
    assert said(node.begin("b", "two"))[:2] == [
        f"{waits.format(1)} of it.",
        f"{owner} was left behind by process {first.pid} on machine a, which is gone.",
    ]
    assert not owner.exists()
    with Store(tmp_path / "run" / "samples.sqlite", read_only=True) as store:
        assert sorted(item.item for item in store.items("t")) == ["killed", "two"]
