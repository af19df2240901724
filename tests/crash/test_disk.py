"""Disks that fill up or take nothing, stores that are damaged, taken or from the future."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.repair import open_whole
from bfpo_bench.run.run_json import read_run
from bfpo_bench.run.store import ResponseRecord, ScoreRecord, Store, VerdictRecord, answer_key
from tests.crash.attempts import Attempt, Driver
from tests.crash.killing import contents
from tests.small_disk import SmallDisk

IDENTITY = {"model": {"weights": "aa"}, "tasks": {}, "data": {}}


@pytest.fixture(scope="module")
def undisturbed(
    driver: Driver, options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = tmp_path_factory.mktemp("disk") / "undisturbed"
    outcome = driver.run(Attempt({**options, "output": str(run)}))
    assert outcome.code == 0, outcome.errors
    return run


# --------------------------------------------------------------------- full disk


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 60, 100, 200, 280])
def test_a_disk_that_fills_up(
    driver: Driver, options: dict[str, Any], undisturbed: Path, small_disk: SmallDisk, room: int
) -> None:
    """From no room at all to room for nearly everything, in kilobytes."""
    disk = small_disk("1m")
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * (1024 - 8 - room) * 1024)
    options = {**options, "output": str(disk / "run")}
    outcome = driver.run(Attempt(options))
    assert outcome.code == (1 if room else outcome.code)
    assert outcome.code in (1, 2), outcome.errors
    [sentence] = [line for line in outcome.errors.splitlines() if line.startswith("bfpo-bench:")]
    assert "space" in sentence or "full" in sentence
    assert "Traceback" not in outcome.errors
    ballast.unlink()
    kept = _answers(disk / "run")
    assert kept == outcome.answers
    again = driver.run(Attempt(options))
    assert again.code == 0, again.errors
    assert kept + again.answers == 36
    assert contents(disk / "run") == contents(undisturbed)


def _answers(run: Path) -> int:
    if not (run / "samples.sqlite").exists():
        return 0
    with Store(run / "samples.sqlite") as store:
        return len(store.keys("scores")) + len(store.keys("responses"))


@pytest.mark.slow
def test_a_disk_that_takes_nothing(
    driver: Driver, options: dict[str, Any], small_disk: SmallDisk
) -> None:
    disk = small_disk("1m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    outcome = driver.run(Attempt({**options, "output": str(disk / "run")}))
    assert outcome.code == 2
    assert "cannot write into" in outcome.errors
    assert "choose another run directory" in outcome.errors
    assert "Traceback" not in outcome.errors


# ------------------------------------------------------------- taken, or too new


@pytest.mark.slow
def test_a_second_process_is_refused_and_changes_nothing(
    driver: Driver, options: dict[str, Any], undisturbed: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    before = contents(run)
    # This process plays the one that is at work.
    with RunDirectory(run, read_run(run)["identity"]):
        outcome = driver.run(Attempt({**options, "output": str(run), "fresh": True}))
    assert outcome.code == 2
    assert "another process is working on" in outcome.errors
    assert contents(run) == before


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, IDENTITY)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, b"here")
        time.sleep(60)
        os._exit(0)
    os.read(read, 4)
    run.close()
    try:
        RunDirectory(tmp_path, IDENTITY).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_forked_child_ends_with_its_parent(tmp_path: Path) -> None:
    """The parent is a process of its own that is killed while its child sleeps."""
    code = (
        "import os, pathlib, signal, sys, time\n"
        "from bfpo_bench.run.directory import RunDirectory\n"
        "run = RunDirectory(pathlib.Path(sys.argv[1]), {'tasks': {}, 'data': {}})\n"
        "if not os.fork(): time.sleep(60)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    # The pipe closes when the last process that holds it is gone.
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, timeout=50)


@pytest.mark.slow
def test_a_store_of_a_newer_version(
    driver: Driver, options: dict[str, Any], undisturbed: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    (run / "results.json").unlink()
    with closing(sqlite3.connect(run / "samples.sqlite")) as db, db:
        db.execute("UPDATE meta SET value = '99'")
    outcome = driver.run(Attempt({**options, "output": str(run)}))
    assert outcome.code == 2
    assert "upgrade bfpo-bench" in outcome.errors
    assert not list(run.glob("*.damaged*"))


# ----------------------------------------------------------------------- damaged


def _overwrite(path: Path, begin: float, end: float) -> None:
    size = path.stat().st_size
    low, high = int(begin * size) // 4096 * 4096, int(end * size)
    with path.open("r+b") as file:
        file.seek(low)
        file.write(random.Random(0).randbytes(high - low))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "header": lambda path: _overwrite(path, 0, 0.01),
    "middle": lambda path: _overwrite(path, 0.5, 0.7),
    "end": lambda path: _overwrite(path, 0.8, 1),
    "cut off": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "text": lambda path: path.write_text("no database " * 100) and None,  # type: ignore[func-returns-value]
}


@pytest.mark.slow
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_store(
    driver: Driver, options: dict[str, Any], undisturbed: Path, tmp_path: Path, how: str
) -> None:
    run = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    for name in ("results.json", "table.md"):
        (run / name).unlink()
    DAMAGES[how](run / "samples.sqlite")
    outcome = driver.run(Attempt({**options, "output": str(run)}))
    assert outcome.code == 0, outcome.errors
    found, expected = contents(run), contents(undisturbed)
    asides = {name for name in found.pop("files") if "damaged" in name}
    expected.pop("files")
    assert found == expected
    if how != "emptied":
        assert asides == {"samples.sqlite.damaged-1"}
        [said] = [line for line in outcome.errors.splitlines() if "was damaged" in line]
        assert "the rest is done again" in said


def key(number: int) -> str:
    return answer_key("test", number)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of 3,000 answers."""
    path = tmp_path / "samples.sqlite"
    with Store(path) as store:
        store.add_scores(
            ScoreRecord(key(i), "t", f"{i}", 0, "c" * 300, "d", -1.0, True, 0) for i in range(2000)
        )
        store.add_responses(
            ResponseRecord(key(-i), "t", f"{i}", "p", "q", "r" * 400, "stop", 0, 1, 2, 0)
            for i in range(1, 1001)
        )
        store.add_verdicts(
            VerdictRecord(key(10000 + i), "j", "t", f"{i}", None, None, "raw")
            for i in range(1, 1001)
        )
    return path


@pytest.mark.parametrize("seed", range(8))
def test_one_broken_page_costs_few_answers(store: Path, seed: int) -> None:
    rng = random.Random(seed)
    with closing(sqlite3.connect(store)) as db:
        query = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf'"
        try:
            leaves = [page for (page,) in db.execute(query, (rng.choice(["scores", "responses"]),))]
        except sqlite3.OperationalError:
            pytest.skip("this SQLite was built without dbstat")
    with store.open("r+b") as file:
        file.seek((rng.choice(leaves) - 1) * 4096)
        file.write(rng.randbytes(4096))
    before = _everything(store)
    with open_whole(store) as mended:
        scores, responses = mended.scores("t"), mended.responses("t")
        verdicts = mended.verdicts("t", "j")
    lost = 3000 - len(scores) - len(responses)
    assert 0 < lost <= 30
    assert len(verdicts) == len(responses)
    assert {s.key for s in scores} <= {key(i) for i in range(2000)}
    assert all(s.context == "c" * 300 for s in scores)
    assert _everything(store.with_name("samples.sqlite.damaged-1")) == before
    # Mended is mended: nothing is moved again.
    open_whole(store).close()
    assert not store.with_name("samples.sqlite.damaged-2").exists()


def _everything(path: Path) -> bytes:
    return path.read_bytes()


def test_a_rescue_that_was_interrupted_is_done_again(store: Path) -> None:
    aside = store.rename(store.with_name("samples.sqlite.damaged-3"))
    store.with_name("samples.sqlite.rescue").write_text("half a file")
    with open_whole(store) as mended:
        assert len(mended.scores("t")) == 2000
        assert len(mended.verdicts("t", "j")) == 1000
    assert aside.exists()
    assert not store.with_name("samples.sqlite.rescue").exists()


def test_fresh_forgets_what_was_moved_aside(tmp_path: Path) -> None:
    RunDirectory(tmp_path, IDENTITY).close()
    (tmp_path / "samples.sqlite.damaged-1").write_text("old")
    with RunDirectory(tmp_path, IDENTITY, fresh=True) as run, run.open_store() as store:
        assert store.keys("scores") == set()
    assert not list(tmp_path.glob("*.damaged*"))


def test_half_written_files_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    for name in (".results.json.77.tmp", ".run.json.8.tmp", ".mine.tmp"):
        (tmp_path / name).write_text("half")
    RunDirectory(tmp_path, IDENTITY).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", ".mine.tmp", "run.json"]


def test_a_foreign_database_is_not_mended(tmp_path: Path) -> None:
    path = tmp_path / "samples.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE mine (x)")
    with pytest.raises(BadInput, match="not a store"):
        open_whole(path)
    assert not list(tmp_path.glob("*.damaged*"))
