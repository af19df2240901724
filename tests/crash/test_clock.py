"""A wall clock that jumps changes nothing: time is measured by the monotonic one.

The real thing: a small library, preloaded, has every program in the process (Python, SQLite, torch)
read another wall time at each look, up to 400 days off in both directions.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.attempts import REPO, Attempt, Driver
from tests.crash.killing import contents

PACKAGE = REPO / "bfpo_bench"


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("a jumping clock needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return str(library)


@pytest.fixture(scope="module")
def jumping(clock: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The driver of the other crash tests, with that clock."""
    log = tmp_path_factory.mktemp("jumping") / "log"
    modules = (
        "bfpo_bench.evaluation.run",
        "bfpo_bench.engines.hf.engine",
        "lm_eval.tasks",
        "datasets",
    )
    driver = Driver(log, *modules, LD_PRELOAD=clock)
    yield driver
    driver.close()


def test_the_clock_jumps_and_the_monotonic_one_does_not(clock: str) -> None:
    code = (
        "import time, datetime\n"
        "begin = time.monotonic()\n"
        "walls = [time.time() for _ in range(50)]\n"
        "dates = {datetime.datetime.now(datetime.UTC).date() for _ in range(50)}\n"
        "assert max(walls) - min(walls) > 700 * 86400\n"
        "assert sum(a > b for a, b in zip(walls, walls[1:])) > 10\n"
        "assert len(dates) > 2\n"
        "assert 0 <= time.monotonic() - begin < 60\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=_with(clock))


@pytest.mark.slow
def test_a_run_under_a_jumping_clock(
    driver: Driver, jumping: Driver, options: dict[str, Any], tmp_path: Path
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    outcome = driver.run(Attempt({**options, "output": str(whole)}))
    assert outcome.code == 0, outcome.errors
    options = {**options, "output": str(run)}
    for at in (("scores", 3, "after"), ("responses", 2, "inside"), ("verdicts", 2, "after")):
        outcome = jumping.run(Attempt(options, at=at))
        assert outcome.code == -9, outcome.errors
    outcome = jumping.run(Attempt(options))
    assert outcome.code == 0, outcome.errors
    assert contents(run) == contents(whole)
    judged = {"judge": "keyword", "backend": "hf"}
    for path, by in ((run, jumping), (whole, driver)):
        outcome = by.run(Attempt({**judged, "run": str(path)}))
        assert outcome.code == 0, outcome.errors
    assert contents(run) == contents(whole)
    sessions = json.loads((run / "run.json").read_text())["sessions"]
    # Three that were killed and the one that finished; keyword had said what is refused already.
    assert len(sessions) == 4
    for session in sessions:
        assert all(0 <= seconds < 300 for seconds in session["seconds"].values())
    # A finished run is read, whatever day it is.
    outcome = jumping.run(Attempt(options))
    assert (outcome.code, outcome.writes) == (0, ["run.json"])


@pytest.mark.slow
def test_waiting_for_a_server_under_a_jumping_clock(clock: str) -> None:
    """Time-outs, pauses and hand-outs keep their times: their own tests, with this clock."""
    tests = [str(REPO / "tests" / "client" / name) for name in ("test_pool.py", "test_caller.py")]
    # Left out: a fake server that tells the time, by the clock that jumps.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += [*tests, "-k", "not date"]
    done = subprocess.run(command, cwd=REPO, env=_with(clock), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_progress_under_a_jumping_clock(clock: str) -> None:
    code = (
        "from bfpo_bench.common.progress import Progress\n"
        "progress = Progress(show=True)\n"
        "with progress.stage('respond', 40, 0, 'responses'):\n"
        "    for _ in range(40):\n"
        "        progress.advance(1, tokens=10)\n"
    )
    env = {**_with(clock), "FORCE_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, env=env, capture_output=True, text=True
    )
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", done.stderr)
    assert "40/40" in shown
    assert re.search(r"[\d.]+/s [\d,]+ tokens/s +0:00:0\d left 0:00:00", shown), shown
    assert "-" not in re.sub(r"-:--:--|[━╸╺]", "", shown)


def test_nothing_measures_time_by_the_wall_clock() -> None:
    """Wall time may be noted as a date (``datetime.now(UTC)``) or compared with a server's.

    When a sweep's processes began and ended is compared over machines, which share no other clock.
    """
    looks = re.compile(r"\btime\.(time|time_ns|localtime|gmtime)\(|datetime\.(utcnow|today)\(")
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if looks.search(path.read_text(encoding="utf-8"))
    }
    assert found == {
        *("client/http.py", "sweeps/attempt.py", "sweeps/ray_tasks.py", "sweeps/record.py")
    }


def _with(clock: str) -> dict[str, str]:
    return {**os.environ, "LD_PRELOAD": clock, "OMP_NUM_THREADS": "1"}
