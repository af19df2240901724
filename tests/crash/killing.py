"""Kills, resumptions, and what the finished runs hold: shared by the crash tests."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

from tests.crash.attempts import Attempt, Driver, Outcome

KILLED = -9
MOMENTS = ("before", "inside", "after")
TABLES = ("items", "scores", "responses", "verdicts", "outcomes")

Options = dict[str, Any]
Schedule = Sequence[tuple[str, int]]
"""What is written in which order, and how many of the next writes a kill may wait for: few enough
that there is always one left to be killed at."""


def kill(driver: Driver, attempt: Attempt) -> Outcome:
    """An attempt that is killed."""
    outcome = driver.run(attempt)
    assert outcome.code == KILLED, f"{attempt.at}: {outcome.code}\n{outcome.errors}"
    return outcome


def finish(driver: Driver, options: Options, **more: Any) -> Outcome:
    """An attempt that comes to its end."""
    outcome = driver.run(Attempt(options, **more))
    assert outcome.code == 0, outcome.errors
    return outcome


def kill_by(driver: Driver, options: Options, schedule: Schedule, seed: int) -> None:
    """One kill for each entry, in the same run; which write and which moment, the seed says."""
    rng = random.Random(seed)
    for what, most in schedule:
        kill(driver, Attempt(options, at=(what, rng.randint(1, most), rng.choice(MOMENTS))))


def finished_despite(
    driver: Driver, runs: Iterable[Options], kills: int, seconds: float, seed: int
) -> Iterator[Options]:
    """Runs that were killed at random moments until they were done.

    Takes as many runs as it needs for so many kills; an undisturbed one takes these seconds. Where
    the machine has become slower since, each attempt has a little more time than the one before.
    """
    rng = random.Random(seed)
    killed = 0
    for options in runs:
        code, most = KILLED, 1.1 * seconds
        while code == KILLED:
            outcome = driver.run(Attempt(options, seconds=rng.uniform(0, most)))
            code, most = outcome.code, 1.1 * most
            killed += code == KILLED
        assert code == 0, outcome.errors
        yield options
        if killed >= kills:
            return


def rows(store: Path, tables: Iterable[str]) -> dict[str, Any]:
    """All rows of these tables."""
    with closing(sqlite3.connect(store)) as db:
        return {t: sorted(db.execute(f"SELECT * FROM {t}"), key=str) for t in tables}


def contents(run: Path) -> dict[str, Any]:
    """All that a finished run holds but for the times in its ``run.json``."""
    found = rows(run / "samples.sqlite", TABLES)
    for path in (*run.glob("results*.json"), run / "table.md"):
        found[path.name] = path.read_text()
    found["identity"] = json.loads((run / "run.json").read_text())["identity"]
    found["files"] = sorted(path.name for path in run.iterdir())
    return found


def assert_nothing_survives(outcome: Outcome) -> None:
    """No process that the killed one had started; the guard has a moment for them."""
    deadline = time.monotonic() + 60
    while left := [process for process in psutil.process_iter() if _of(process, outcome.session)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def _of(process: psutil.Process, session: int) -> bool:
    try:
        dead = process.status() == psutil.STATUS_ZOMBIE
        return not dead and os.getsid(process.pid) == session
    except (psutil.Error, ProcessLookupError):
        return False
