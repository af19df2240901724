"""Evaluations, judgements of runs and red teamings, in forked children that die when they should.

Importing torch and its company takes ten seconds, so one driver process imports them once and
forks a child for each attempt, before any thread of an engine exists. The driver reads one JSON
object a line (``Attempt``) and answers with one (``Outcome``).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.engines.vllm.forked import fork_engine

REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Attempt:
    """One evaluation, judgement or red teaming, and when it is killed.

    Attributes:
        options: keyword arguments of ``EvaluateOptions``; with ``run``, the path of a finished run,
            those of ``JudgeOptions``; with ``prompts``, those of ``RedteamOptions``.
        at: (what, number, moment): kill at the so-manieth write of a table or file, and of that
            ``before``, ``inside`` (rows written but not committed, file written but not in its
            place) or ``after``.
        seconds: kill so long after the start.
        lose: (what, number): have a copy of the model killed after the so-manieth write of a table.
        environment: variables that are set before.
        fork_engine: have vLLM fork its processes, as it does on a GPU, instead of starting them
            anew: they need not import what the driver has, which is most of their time.
    """

    options: dict[str, Any]
    at: tuple[str, int, str] | None = None
    seconds: float | None = None
    lose: tuple[tuple[str, int], ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    fork_engine: bool = False


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: exit code or, negative, the signal; and what it wrote, in order.

    ``session`` is the session that it and every process it started belong to; ``answers`` counts
    the scores and responses among what it wrote.
    """

    code: int
    session: int
    seconds: float
    writes: list[str]
    answers: int
    errors: str


class Driver:
    """The other end of the driver process."""

    def __init__(self, log: Path, *modules: str, **environment: str) -> None:
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.attempts", str(log), *modules],
            cwd=REPO,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, attempt: Attempt) -> Outcome:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(attempt)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the driver died: " + self._log.read_text()[-2000:]
        return Outcome(**json.loads(line))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


# ------------------------------------------------------------- the driver's side


def main(log: Path, modules: list[str]) -> None:
    import importlib

    answers = os.fdopen(os.dup(1), "w")
    for name in modules:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    # The children need neither look through all that nor copy it.
    gc.freeze()
    for line in sys.stdin:
        attempt = json.loads(line)
        writes = log.with_name("writes")
        writes.write_text("")
        log.write_text("")
        begin = time.monotonic()
        child = os.fork()
        if not child:
            _in_child(attempt, log, writes)
        code = _await(child, attempt, begin)
        seconds = time.monotonic() - begin
        notes = [line.split("\t") for line in writes.read_text().splitlines()]
        answers_given = sum(int(n) for name, n in notes if name in ("scores", "responses"))
        outcome = Outcome(
            *(code, child, seconds, [name for name, _ in notes], answers_given),
            log.read_text()[-3000:],
        )
        print(json.dumps(asdict(outcome)), file=answers, flush=True)


def _await(child: int, attempt: dict[str, Any], begin: float) -> int:
    limit = attempt["seconds"]
    while limit is not None and time.monotonic() - begin < limit:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    if limit is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _in_child(attempt: dict[str, Any], log: Path, writes: Path) -> None:
    code = 99
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update(attempt["environment"])
        if attempt["fork_engine"]:
            fork_engine()
        _hook(attempt["at"], attempt["lose"], writes)
        code = _work(attempt["options"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _work(options: dict[str, Any]) -> int:
    from bfpo_bench.common.errors import BenchError

    try:
        if "prompts" in options:
            _redteam(**options)
        else:
            _judge(**options) if "run" in options else _evaluate(options)
    except BenchError as error:
        print(f"bfpo-bench: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _evaluate(options: dict[str, Any]) -> None:
    from bfpo_bench.evaluation.options import EvaluateOptions
    from bfpo_bench.evaluation.run import run_evaluation

    paths = {name: Path(options[name]) for name in ("output", "data_dir") if name in options}
    run_evaluation(EvaluateOptions(**{**options, **paths, "tasks": tuple(options["tasks"])}))


def _judge(run: str, **options: Any) -> None:
    from bfpo_bench.evaluation.rejudge import judge_run
    from bfpo_bench.judges.chosen import choose_judge
    from bfpo_bench.judges.options import JudgeOptions

    judge_run(Path(run), choose_judge(JudgeOptions(**options)))


def _redteam(output: str, **options: Any) -> None:
    from bfpo_bench.redteam import RedteamOptions, redteam

    redteam(RedteamOptions(output=Path(output), **options))


def _hook(at: list[Any] | None, lose: list[Any], writes: Path) -> None:
    """Has the process note what it writes, and die at the wanted moment of the wanted write."""
    from bfpo_bench.client import pool
    from bfpo_bench.engines import copies
    from bfpo_bench.engines.vllm import engine
    from bfpo_bench.judges import protocol
    from bfpo_bench.redteam import pairs, summary
    from bfpo_bench.run import directory
    from bfpo_bench.run.store import Store

    # Many small commits, in the undisturbed run as well.
    protocol.JUDGE_CHUNK = pairs.RANK_CHUNK = 3
    engine.HAND_OUT_SECONDS = pool.HAND_OUT_SECONDS = 0.0
    # What is started again is tested in tests/engines; it takes longer than all that is left here.
    copies.RESTARTS, copies.SOON_SECONDS = 0, 300.0
    counts: dict[str, int] = {}
    notes = writes.open("a")
    what, number, moment = at or ("", 0, "")

    def due(name: str) -> bool:
        counts[name] = counts.get(name, 0) + 1
        return name == what and counts[name] == number

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def noted(name: str, count: int, write: Callable[[bool], None]) -> None:
        now = due(name)
        if now and moment == "before":
            die()
        write(now and moment == "inside")
        print(name, count, sep="\t", file=notes, flush=True)
        if [name, counts[name]] in lose:
            workers()[0].kill()
        if now and moment == "after":
            die()

    insert, atomic_write, fsync = Store._insert, directory.atomic_write, os.fsync

    def inserting(store: Store, table: str, width: int, rows: Iterable[Any]) -> None:
        written = list(rows)

        def cut(last: bool) -> Iterator[Any]:
            yield from written
            if last:
                die()

        noted(table, len(written), lambda last: insert(store, table, width, cut(last)))

    def writing(path: Path, text: str) -> None:
        def write(last: bool) -> None:
            os.fsync = (lambda _: die()) if last else fsync
            atomic_write(path, text)

        noted(path.name, 1, write)

    Store._insert = inserting  # type: ignore[method-assign]
    directory.atomic_write = summary.atomic_write = writing


def workers() -> list[psutil.Process]:
    """Processes of copies that this process has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "".join(process.cmdline()[:1]).startswith("ray::Copy"):
                found.append(process)
    return found


def all_gone() -> None:
    """Waits for their end: Ray ends the actors of copies that were closed in a moment."""
    deadline = time.monotonic() + 60
    while workers():
        assert time.monotonic() < deadline
        time.sleep(0.1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
