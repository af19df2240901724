"""One evaluation in a process of its own, looked after: what it prints is kept, and how it ends.

Its memory is freed with it, and what kills it kills one row. All executors come through here: the
local one calls :func:`attempt` itself, others have a task of Ray or a job of Slurm (:class:`Job`)
do it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from bfpo_bench.common import processes
from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.interrupts import INTERRUPTED
from bfpo_bench.common.text import visible
from bfpo_bench.sweeps.record import Attempt, Home, State, begun

LOOK_SECONDS = 0.2
"""How often what an evaluation has printed is passed on."""

WIND_UP_SECONDS = 60.0
"""How long one that is told to stop may take; on a cluster the job is killed some 30 s later."""

_INTERRUPTED = "it was interrupted"

_SAYS = "bfpo-bench: "
"""How the sentence begins that a command ends with when it fails."""


def attempt(home: Home, name: str, show: bool) -> Attempt:
    """Runs a row's evaluation to its end, good or bad, and says how it ended.

    Args:
        show: pass on to standard error what it prints.

    Raises:
        KeyboardInterrupt, SystemExit: this process was told to stop; the evaluation has stopped.
    """
    plan = home.plan()
    planned = plan.rows[name]
    found = begun(planned.made_of)
    home.note(name, found)
    state: State
    with home.log(name).open("ab") as log:
        log.write(f"\n$ {' '.join(planned.command)}\n".encode())
        log.flush()
        begin = log.tell()
        try:
            code = _run(planned.command, plan.where, log, begin if show else None)
        except OSError as error:
            state, why = "failed", f"it cannot be started ({error.strerror}: {error.filename})"
        except BaseException as error:
            # An Exception is submitit's, of a job whose time is over for good.
            why = str(error) if isinstance(error, Exception) else _INTERRUPTED
            home.note(name, replace(found, state="stopped", ended=time.time(), why=why))
            raise
        else:
            state, why = _ending(code, _written(home.log(name), begin).decode("utf-8", "replace"))
    if state == "done" and not (home.folder / name / "results.json").is_file():
        state, why = "failed", "it has left no results"
    ended = replace(found, state=state, ended=time.time(), why=why)
    home.note(name, ended)
    return ended


def _run(command: tuple[str, ...], where: str, log: IO[bytes], shown: int | None) -> int:
    """The exit code of a program that ends with this one; negative, the signal that killed it.

    Args:
        shown: from where on the log is passed on; None for nothing.
    """
    parent = os.getpid()

    def prepare() -> None:
        processes.end_with(parent)
        # A cluster tells all processes of a job before its time is over; the one that looks after
        # this one has it stop in good order.
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)

    child = subprocess.Popen(
        command, cwd=where, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=prepare
    )
    try:
        while True:
            try:
                return child.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            finally:
                shown = _pass_on(Path(log.name), shown)
    except BaseException:
        _stop(child)
        raise


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Has a program wind up; it may have been told to already."""
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(WIND_UP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _pass_on(log: Path, shown: int | None) -> int | None:
    """Prints the lines that were written since; where to go on."""
    if shown is None:
        return None
    data = _written(log, shown)
    whole = data[: data.rfind(b"\n") + 1]
    print(visible(whole.decode("utf-8", "replace")), end="", file=sys.stderr, flush=True)
    return shown + len(whole)


def _written(log: Path, begin: int) -> bytes:
    with log.open("rb") as file:
        file.seek(begin)
        return file.read()


def _ending(code: int, text: str) -> tuple[State, str]:
    """State and reason of an evaluation that has ended with a code and printed a text."""
    if code == 0:
        return "done", ""
    if code == INTERRUPTED:
        return "stopped", _INTERRUPTED
    if code < 0:
        killed = signal.Signals(-code).name
        memory = ", as a system does that is out of memory" if killed == "SIGKILL" else ""
        return "failed", f"it was killed by {killed}{memory}"
    said = [line for line in text.splitlines() if line.startswith(_SAYS)]
    return "failed", said[-1].removeprefix(_SAYS) if said else f"it ended with exit code {code}"


@dataclass(frozen=True)
class Job:
    """What a job of a cluster does: submitit calls it with the name of a row."""

    home: Home

    def __call__(self, name: str) -> str:
        """Runs the row's evaluation; how it has ended.

        Raises:
            RunFailed: it failed, which the cluster is to know.
        """
        ended = attempt(self.home, name, show=True)
        if ended.state == "stopped":
            # The cluster has told all processes of the job to end: because it is cancelled, or to
            # be queued again. Who ends now ends for good; who is killed may come again.
            time.sleep(WIND_UP_SECONDS)
        if ended.state == "failed":
            raise RunFailed(ended.why)
        return ended.state

    def checkpoint(self, name: str) -> Any:
        """What is queued again when the job's time is over: the same, which goes on."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, name)
