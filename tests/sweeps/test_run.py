"""Sweeps that are disturbed end with the table of one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

import bfpo_bench
from bfpo_bench.engines.cluster import connected
from bfpo_bench.leaderboard.board import Leaderboard
from bfpo_bench.sweeps import run, slurm
from bfpo_bench.sweeps.record import Home
from bfpo_bench.sweeps.run import standings
from tests.sweeps.conftest import NAMES
from tests.sweeps.holding import Holding

ASKED: dict[str, Any] = {
    "suite": "mini",
    "tasks": ("toxigen", "advbench"),
    "limit": 8,
    "batch_size": 2,
    "backend": "hf",
    "dtype": "float32",
    "judge": "keyword",
}


@pytest.fixture(autouse=True)
def _quick(program: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PROGRAM", program)


@pytest.fixture(scope="session")
def undisturbed(
    models: list[str], program: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Leaderboard]:
    """A sweep that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "PROGRAM", program)
        board = bfpo_bench.sweep(*models, output=folder, **ASKED)
    assert board.problems == ()
    return folder, board


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Ray on this machine, started with Ctrl-C switched off, as by a script in the background."""
    pytest.importorskip("ray", reason="needs the extra ray")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with connected(None, 2) as ray:
        signal.signal(signal.SIGINT, before)
        yield ray


def states(folder: Path) -> dict[str, str]:
    return {one.name.removesuffix("-mini"): one.state for one in standings(Home(folder))}


def processes(*parts: str) -> list[psutil.Process]:
    """Those that this test has started and that were given all these arguments."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if all(any(part in argument for argument in one.cmdline()) for part in parts):
                found.append(one)
    return found


@contextmanager
def beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Has a thread do something meanwhile, which ends when it is told that all is over."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def killing(
    find: Callable[[], list[psutil.Process]],
    number: int,
    seed: int,
    then: Callable[[], object] = lambda: None,
) -> Iterator[list[int]]:
    """Kills what is found at random moments, a process so many at most."""
    rng, killed = random.Random(seed), list[int]()

    def kill(over: threading.Event) -> None:
        while len(killed) < number and not over.wait(0.01):
            if victims := find():
                time.sleep(rng.uniform(0.05, 0.6))
                with suppress(psutil.Error):
                    victim = rng.choice(victims)
                    victim.kill()
                    killed.append(victim.pid)
        then()

    with beside(kill):
        yield killed


def test_the_runs_are_those_of_evaluate(
    models: list[str], undisturbed: tuple[Path, Leaderboard], tmp_path: Path, program: Any
) -> None:
    folder, board = undisturbed
    asked = {**ASKED, "tasks": ",".join(ASKED["tasks"]), "model": models[1], "output": tmp_path}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in asked.items()]
    subprocess.run([*program, "evaluate", *flags], check=True, stdout=subprocess.DEVNULL)
    alone, swept = (
        json.loads((run / "results.json").read_text()) for run in (tmp_path, folder / "m01-mini")
    )
    assert alone == swept
    assert {entry.name for entry in board.entries} == set(NAMES)
    assert str(bfpo_bench.leaderboard(folder)) == str(board)


def test_killed_evaluations_cost_their_rows_and_go_on(
    models: list[str], undisturbed: tuple[Path, Leaderboard], tmp_path: Path, program: Any
) -> None:
    number, find = len(NAMES) // 2 + 1, partial(processes, "ask", program[-1])
    with Holding(program) as held, killing(find, number, 1, held.release) as killed:
        board = bfpo_bench.sweep(*models, output=tmp_path, **ASKED)
    assert len(killed) == number
    failed = [name for name, state in states(tmp_path).items() if state == "failed"]
    assert len(board.problems) == len(failed) == number
    assert f"{failed[0]}-mini" in str(board)
    assert "Failed: it was killed by SIGKILL" in str(board)
    assert str(bfpo_bench.sweep(*models, output=tmp_path, **ASKED)) == str(undisturbed[1])
    before = (tmp_path / "m00-mini" / "results.json").stat().st_mtime_ns
    bfpo_bench.sweep(*models, output=tmp_path, **ASKED)  # nothing is missing
    assert (tmp_path / "m00-mini" / "results.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"executor": "ray", "at_once": 1}, marks=pytest.mark.slow)],
    ids=["local", "ray"],
)
def test_ctrl_c_leaves_what_is_finished(
    models: list[str],
    tmp_path: Path,
    program: Any,
    options: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    if options:
        request.getfixturevalue("ray")
    with Holding(program, "m01-mini") as held:

        def press(over: threading.Event) -> None:
            # Python loses an interrupt that comes while it forks: it has done that by then.
            while not over.wait(0.02):
                if held.has("m01-mini"):
                    os.kill(os.getpid(), signal.SIGINT)
                    return

        with beside(press), pytest.raises(KeyboardInterrupt):
            bfpo_bench.sweep(*models, output=tmp_path, **options, **ASKED)
    assert list(states(tmp_path).values())[:3] == ["done", "stopped", "waiting"]
    assert bfpo_bench.leaderboard(tmp_path / "m00-mini").problems == ()


def test_the_same_by_tasks_of_ray(
    models: list[str], undisturbed: tuple[Path, Leaderboard], tmp_path: Path, ray: Any, program: Any
) -> None:
    """A task whose worker is killed is begun again, and nothing of it is left."""
    find = partial(processes, "ray::", "-mini")
    with Holding(program) as held, killing(find, 1, 4, held.release) as lost:
        board = bfpo_bench.sweep(*models, output=tmp_path, executor="ray", **ASKED)
    assert lost
    assert board.problems == ()
    assert str(board) == str(undisturbed[1])
    assert not processes("ask", program[-1])


def test_the_same_by_jobs_of_a_cluster(
    models: list[str],
    undisturbed: tuple[Path, Leaderboard],
    tmp_path: Path,
    program: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """submitit's local executor instead of Slurm: evaluations and jobs are killed and preempted."""
    pytest.importorskip("submitit", reason="needs the extra slurm")
    monkeypatch.setattr(slurm, "CLUSTER", "local")
    monkeypatch.setattr(slurm, "LOOK_SECONDS", 0.1)
    # No GPU is named, which submitit would show to the job instead of all.
    cluster = {"executor": "slurm", "gpus": 0}
    find = partial(processes, "ask", program[-1])
    preempted = threading.Event()

    def preempt(over: threading.Event) -> None:
        while not over.wait(0.02):
            for name in NAMES:
                found = Home(tmp_path).attempt(f"{name}-mini")
                if found is not None and found.state == "running" and held.has(f"{name}-mini"):
                    os.kill(found.pid, signal.SIGUSR2)
                    preempted.set()
                    return

    def release() -> None:
        preempted.wait(60)
        held.release()

    with ExitStack() as stack:
        held = stack.enter_context(Holding(program))
        killed = stack.enter_context(killing(find, 1, 2, release))
        stack.enter_context(beside(preempt))
        first = bfpo_bench.sweep(*models, output=tmp_path, **cluster, **ASKED)
    assert preempted.is_set()
    assert killed
    assert len(first.problems) <= 1  # who was preempted has gone on by itself
    with killing(partial(processes, "submitit.core._submit"), 1, seed=3):
        bfpo_bench.sweep(*models, output=tmp_path, **cluster, **ASKED)
    last = bfpo_bench.sweep(*models, output=tmp_path, **cluster, **ASKED)
    assert str(last) == str(undisturbed[1])
    assert set(states(tmp_path).values()) == {"done"}
