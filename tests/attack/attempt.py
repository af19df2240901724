"""A command that is run over something hostile, and what must be true of whatever it does."""

from __future__ import annotations

import logging
import os
import resource
import shlex
import signal
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest

from bfpo_bench.cli import main
from bfpo_bench.common.text import LONGEST

SECONDS = 120
"""A command that takes longer hangs; the slowest of them takes two on an idle machine."""

SHOWN = (".md", ".html", ".tex", ".txt", ".log", ".svg", ".css")
"""Files that people look at as they are; a CSV or a JSON file is data, and holds what was said."""

MARKUP = "<img src=x onerror=alert(1)>"
"""Stands in hostile texts; on a page it must not stand as it is."""


@dataclass(frozen=True)
class Case:
    """A command line and the hostile thing that is made for it.

    Attributes:
        name: what it is.
        line: of the command, with ``{here}`` (the folder that `make` fills, and where the command
            is run), ``{good}`` (sound things of every kind) and ``{out}`` (where it may write).
        make: makes the hostile thing in a folder.
        code: exit code; below 0: a sentence or a right result, whichever the command comes to.
        says: stands in what the command writes.
        url: a server's, as ``{url}``.
    """

    name: str
    line: str
    make: Callable[[Path], object] = lambda here: None
    code: int = 2
    says: str = ""
    url: str = ""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Hang(BaseException):
    """The time is up."""


@contextmanager
def limits(seconds: float, memory: int = 2 << 30) -> Iterator[None]:
    """Ends a block that takes longer by :class:`Hang`, and one that takes more by MemoryError."""

    def up(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    room = resource.getrlimit(resource.RLIMIT_DATA)
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + memory, room[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, room)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_here(arguments: list[str], capture: pytest.CaptureFixture[str]) -> Ended:
    """Runs a command in this process."""
    factory = logging.getLogRecordFactory()
    code: object = 0
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch, limits(SECONDS):
        patch.setattr(sys, "argv", ["bfpo-bench", *arguments])
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            logging.setLogRecordFactory(factory)
    assert time.monotonic() - began < SECONDS
    written = capture.readouterr()
    assert isinstance(code, int)
    return Ended(code, written.out, written.err)


def check(ended: Ended) -> None:
    """What is true of every command: nothing steers the terminal, failures are short sentences."""
    steering = steers(ended.out + ended.err)
    assert not steering, (steering, ended)
    for line in ended.err.splitlines():
        assert len(line) <= LONGEST, line
    for word in ("Traceback", "bfpo-bench: unexpected", "panicked", "MemoryError", 'File "'):
        assert word not in ended.err, ended
    if ended.code:
        assert ended.code in (1, 2), ended
        assert any(line.startswith("bfpo-bench: ") for line in ended.err.splitlines()), ended


def steers(text: str) -> set[str]:
    """The characters of a text that can do something to a terminal or to the order of letters."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t"}


def check_output(out: Path) -> None:
    """What is true of every file that people look at."""
    for path in out.rglob("*"):
        if path.is_file() and path.suffix in SHOWN:
            text = path.read_text(encoding="utf-8")
            assert not steers(text), path
            assert MARKUP not in text or path.suffix != ".html", path


def tree(folder: Path) -> dict[str, object]:
    """All that is in a folder, and when it was changed; what is no file is not opened."""
    found: dict[str, object] = {}
    for place, folders, files in os.walk(folder):
        # SQLite's own, which it makes for whoever reads.
        for name in (one for one in (*folders, *files) if ".sqlite-" not in one):
            path = Path(place, name)
            about = path.lstat()
            what = () if name in folders else (about.st_size, about.st_mtime_ns)
            found[str(path)] = (about.st_mode, *what)
    return found


def attack(case: Case, good: Path, folder: Path, capture: pytest.CaptureFixture[str]) -> Ended:
    """Runs a case and checks all that is true of every case.

    Args:
        good: sound things; nothing may be changed in them. Beside `here` it is called ``good``.
        folder: an empty folder for the case.
    """
    here, out, home = (folder / name for name in ("here", "out", "home"))
    for one in (here, out, home):
        one.mkdir()
    (folder / "good").symlink_to(good)
    case.make(here)
    places = {"here": here, "good": good, "out": out, "url": case.url}
    arguments = [part.format(**places) for part in shlex.split(case.line)]
    before, first = (tree(here), tree(good), tree(home)), tree(out)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
            patch.setenv(name, str(home))
        patch.setenv("COLUMNS", "200")
        ended = run_here(arguments, capture)
    check(ended)
    assert ended.code == case.code or case.code < 0, ended
    assert case.says in ended.out + ended.err, ended
    after = tree(here), tree(good), tree(home)
    changed = [set(new.items()) ^ set(old.items()) for new, old in zip(after, before, strict=True)]
    assert not any(changed), (changed, ended)
    check_output(out)
    # A server that fails leaves a run to be gone on with.
    if ended.code == 2 and not (ended.out or first or case.url):
        assert not tree(out), "bad input leaves nothing behind"
    return ended
