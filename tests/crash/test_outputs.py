"""kill -9 at every step of putting an output in place: the old one or the new one, and no litter.

Each step is a change of the disk: a file opened to be written, renamed, linked, removed, a folder
made. The writer is a forked child that dies just before the step with a certain number.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import stat
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks.synthetic_runs import synthetic_run
from bfpo_bench.common import files
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.files import atomic_file, atomic_folder, new_file, owned
from bfpo_bench.export import export_run
from bfpo_bench.leaderboard.render.update import update_file
from bfpo_bench.leaderboard.report import write
from bfpo_bench.leaderboard.report.write import write_report
from bfpo_bench.leaderboard.rows import published_entries
from bfpo_bench.redteam import RedteamOptions
from bfpo_bench.redteam.summary import owned_output, write_output
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.training.illustration.figure import illustrate
from bfpo_bench.training.output import (
    UPDATES,
    claim_output,
    clear_output,
    finish_output,
    is_finished,
    write_manifest,
)
from bfpo_bench.training.recipe_file import load_recipe

STEPS = {
    *("os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.chmod"),
    *("shutil.rmtree", "ctypes.dlsym/handle"),
}
WRITES = os.O_WRONLY | os.O_RDWR


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Has a child do it; False where it came to its end before that step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytest's process has threads
        child = os.fork()
    if not child:
        seen = 0

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            if event in STEPS or (event == "open" and arguments[2] & WRITES):
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def kills(work: Callable[[], object]) -> Iterator[int]:
    """One kill after the other, until there is no further step to be killed at."""
    step = 1
    while killed_at(step, work):
        yield step
        step += 1
    assert step > 4


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def one_file(place: Path, version: str) -> None:
    with atomic_file(place, place.parent / "run", force=True) as temporary:
        temporary.write_text(version)


def one_folder(place: Path, version: str) -> None:
    with atomic_folder(place, force=True) as staged:
        (staged / "data").mkdir()
        for name in ("a", "data/b"):
            (staged / name).write_text(version)


PARTS = ("a", "data", "data/b")


def table(place: Path, version: str) -> None:
    update_file(place, version)


def versions(place: Path) -> set[str]:
    """Which versions are seen there."""
    found = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
    return {path.read_text().strip().splitlines()[-3:][0] for path in found if path.name != "mine"}


@pytest.mark.parametrize("writer", [one_file, one_folder, table])
def test_a_kill_leaves_the_old_one_or_the_new_one(
    tmp_path: Path, writer: Callable[[Path, str], None]
) -> None:
    place = tmp_path / "out"
    writer(place, "first")
    if place.is_dir():
        (place / "mine").write_text("kept")
    whole, before = listing(tmp_path), versions(place)
    writer(place, "second")
    after = versions(place)
    assert len(before) == len(after) == 1
    assert before != after
    writer(place, "first")
    seen = set()
    for step in kills(lambda: writer(place, "second")):
        found = versions(place)
        assert found in (before, after), step
        seen |= found
        # The next one is not kept out, and clears up.
        writer(place, "first")
        assert (versions(place), listing(tmp_path)) == (before, whole), step
    assert seen == before | after


def test_the_first_of_its_kind_is_there_or_not(tmp_path: Path) -> None:
    place = tmp_path / "new" / "out"
    seen = set()
    for _ in kills(lambda: one_folder(place, "first")):
        seen.add(place.exists())
        assert not place.exists() or listing(place) == list(PARTS)
        one_folder(place, "first")
        assert listing(tmp_path) == ["new", "new/out", *_in("new/out", *PARTS)]
        files.remove(tmp_path / "new")
    assert seen == {False, True}


def _in(folder: str, *names: str) -> list[str]:
    return [f"{folder}/{name}" for name in names]


def test_a_folder_that_cannot_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that somebody works in: whoever sees its last file sees what belongs to it."""
    place = tmp_path / "out"
    one_folder(place, "first")
    (place / "mine").write_text("kept")
    monkeypatch.chdir(place)
    number = place.stat().st_ino
    for step in kills(lambda: one_folder(place, "second")):
        if (place / "a").exists():
            assert len(versions(place)) == 1, step
        one_folder(place, "first")
        assert listing(tmp_path) == ["out", *_in("out", *PARTS, "mine")]
    assert versions(place) == {"second"}
    assert place.stat().st_ino == number


ASKED: Any = {"model": "nowhere", "prompts": "none", "judge": "keyword", "ranker": "length"}


def test_pairs_and_their_summary(tmp_path: Path) -> None:
    output, summary = tmp_path / "pairs.jsonl", tmp_path / "pairs.summary.json"
    options = RedteamOptions(**ASKED, output=output, run=tmp_path / "run", fresh=True)

    def work(version: str) -> None:
        with owned_output(options):
            found: Any = SimpleNamespace(to_json=lambda: version)
            write_output(options, version, found)

    work("first")
    seen = set()
    for step in kills(lambda: work("second")):
        pairs = output.read_text()
        seen.add(pairs)
        assert not summary.exists() or summary.read_text() == pairs, step
        with owned_output(options):
            assert summary.read_text() == output.read_text()
        work("first")
        assert listing(tmp_path) == ["pairs.jsonl", "pairs.summary.json"], step
    assert seen == {"first", "second"}


RECORD: dict[str, Any] = {
    "base": {"name": "base"},
    "method": "bfpo",
    "data": [],
    "curves": [],
    "notes": [],
    "updates": 1,
    "trained_parameters": 1,
    "seconds": {"training": 1.0},
    "recipe": {},
}
MODEL = ("README.md", "config.json", "model.safetensors", "training.json")


def unfinished(folder: Path) -> None:
    """A training that has come to its end and saved the model, but not put it in place."""
    for name in ("recipe.json", "checkpoint-8/trainer_state.json", ".saved/config.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"updates": UPDATES, "recipe": {}}))
    save_file({"weight": np.ones(2)}, folder / ".saved" / "model.safetensors")


def test_a_model_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    unfinished(folder)
    ends = set()
    for step in kills(lambda: finish_output(folder, RECORD)):
        there = (folder / "config.json").exists()
        assert is_finished(folder) == there, step
        ends.add(there)
        if there:
            assert {path.name for path in folder.iterdir()} >= set(MODEL)
            clear_output(folder)
        else:
            # The newest checkpoint is still there to go on from.
            assert (folder / "checkpoint-8" / "trainer_state.json").exists()
            claim_output(folder, {"recipe": {}})
            unfinished(folder)
            finish_output(folder, RECORD)
        assert listing(folder) == sorted(MODEL)
        files.remove(folder)
        unfinished(folder)
    assert ends == {False, True}


# ------------------------------------------------------------------------ two at a time


@contextmanager
def somebody_else(place: Path, inside: bool = False) -> Iterator[None]:
    """Another thread owns an output meanwhile, as another process would."""
    taken, done = threading.Event(), threading.Event()

    def work() -> None:
        with owned(place, inside):
            taken.set()
            done.wait(100)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert taken.wait(100)
        yield
    finally:
        done.set()
        thread.join()


def test_who_comes_second_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "draw_all", lambda entries, folder: [])
    run = synthetic_run(tmp_path / "run", tasks=("advbench",), limit=2)
    out = tmp_path / "out"
    pairs = RedteamOptions(**ASKED, output=out)
    second: list[tuple[Path, Callable[[], object]]] = [
        (out, lambda: export_run(run, "jsonl", out)),
        (out / "synthetic", lambda: export_run(run, "lm-eval", out)),
        (out, lambda: write_report(published_entries(), out)),
        (out, lambda: update_file(out, "table")),
        (out, lambda: new_file(out, force=True).__enter__()),
        (out, lambda: illustrate(out, [1.0], steps=1)),
        (out, lambda: owned_output(pairs).__enter__()),
        (pairs.summary_path, lambda: owned_output(pairs).__enter__()),
    ]
    for place, work in second:
        with somebody_else(place):
            before = sorted(tmp_path.iterdir())
            with pytest.raises(BadInput, match=rf"^another process is writing {place}; wait for"):
                work()
            assert sorted(tmp_path.iterdir()) == before
    # Brings torch, and forks of a process with torch are slow.
    from bfpo_bench.training.train import train

    recipe = load_recipe("mistral/bfpo", [], base="nowhere")
    with somebody_else(out, inside=True), pytest.raises(BadInput, match=r"is writing .*/out; wait"):
        train(recipe, out)
    assert list(tmp_path.iterdir()) == [run]


def test_an_output_under_any_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "file").symlink_to(tmp_path / "folder" / "table.md")
    for other in (tmp_path / "link" / "table.md", tmp_path / "file"):
        with somebody_else(tmp_path / "folder" / "table.md"), pytest.raises(BadInput):
            update_file(other, "x")
        update_file(other, "x")
        assert (tmp_path / "folder" / "table.md").is_file()
    assert (tmp_path / "file").is_symlink()


def test_without_locks_a_file_names_the_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    place = tmp_path / "out"
    named = f"process {os.getpid()} on machine .* is working on {place}, which lies on a file sys"
    with somebody_else(place), pytest.raises(BadInput, match=named):
        one_file(place, "mine")
    # A killed one's file is known to be one.
    gone = {"host": os.uname().nodename, "pid": os.getppid(), "started": 1.0}
    (tmp_path / ".out.owner").write_text(json.dumps(gone))
    one_file(place, "mine")
    assert listing(tmp_path) == ["out"]


# -------------------------------------------------------------------------- permissions


@pytest.mark.parametrize("mask", [0o002, 0o077])
def test_the_umask_decides_who_may_read(
    tmp_path: Path, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "draw_all", lambda entries, folder: [])
    before = os.umask(mask)
    try:
        folder = tmp_path / "all"
        with RunDirectory(folder / "run", {"tasks": {}, "data": {}}) as run, run.open_store():
            # What SQLite has beside the store while it is open.
            assert len(found := _modes(folder)) > 4
            assert set(found.values()) == {0o666 & ~mask}
        unfinished(folder / "model")
        write_manifest(folder / "model" / "checkpoint-8")
        finish_output(folder / "model", RECORD)
        write_report(published_entries(), folder / "report")
        for version in ("first", "second"):
            one_file(folder / "file", version)
            one_folder(folder / "folder", version)
    finally:
        os.umask(before)
    assert set(_modes(folder).values()) == {0o666 & ~mask}
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_dir()} == {
        0o777 & ~mask
    }
    # Who has decided otherwise for a file that is there is heeded.
    (folder / "file").chmod(0o640)
    one_file(folder / "file", "third")
    assert stat.S_IMODE((folder / "file").stat().st_mode) == 0o640


def _modes(folder: Path) -> dict[Path, int]:
    return {p: stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_file()}
