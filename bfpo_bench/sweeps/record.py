"""A sweep on disk: what is to be run, and how each evaluation of it stands.

In the sweep's folder lies ``.sweep``: ``plan.json``, and for each row ``NAME.json`` (its newest
attempt) and ``NAME.log`` (all that its evaluations have printed).
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic.dataclasses import dataclass as checked

from bfpo_bench import __version__
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.files import atomic_write
from bfpo_bench.common.json_file import of_kind, read_json
from bfpo_bench.common.options import arguments
from bfpo_bench.common.validate import SEEN, WHOLE
from bfpo_bench.sweeps.rows import Row, is_folder, key

State = Literal["running", "done", "failed", "stopped"]

_AGAIN = "run the sweep again."


@checked(frozen=True, config=WHOLE)
class Planned:
    """A row as it is written down.

    Attributes:
        key: see :func:`bfpo_bench.sweeps.rows.key`.
        command: what is run for it: ``evaluate`` with its options, and Python before it.
        made_of: hash of all that a finished run is known by: command, version, the model's files.
        job: in a queue, if it was put into one.
    """

    model: str
    key: str
    command: tuple[str, ...]
    made_of: str
    job: str | None = None


@checked(frozen=True, config=WHOLE)
class Plan:
    """What a sweep is to run; ``where`` its commands are run, and how."""

    schema: Literal[1]
    where: str
    executor: str
    rows: dict[str, Planned]


@checked(frozen=True, config=SEEN)
class Attempt:
    """The newest attempt at a row.

    Attributes:
        state: ``running`` until it has ended; a killed one says so for ever.
        why: it failed or stopped, as a sentence.
        began, ended: seconds since 1970.
        born: when the process was made that looks after it, for its number is given out again.
    """

    state: State
    made_of: str
    host: str
    pid: int
    born: float
    began: float
    ended: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Standing:
    """How a row stands now.

    Attributes:
        state: ``done``, ``running``, ``queued``, ``failed``, ``stopped`` (interrupted or killed: it
            goes on with the sweep) or ``waiting``.
        why: of a row that failed or stopped; where one runs that is running.
    """

    name: str
    model: str
    state: str
    why: str = ""
    seconds: float | None = None


def counted(standings: Iterable[Standing]) -> str:
    """How many rows are in which state."""
    states = Counter(one.state for one in standings)
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


@dataclass(frozen=True)
class Home:
    """The folder of a sweep."""

    folder: Path

    @cached_property
    def inside(self) -> Path:
        """Where the sweep's own files lie."""
        return self.folder / ".sweep"

    @property
    def jobs(self) -> Path:
        """Where submitit keeps what it needs."""
        return self.inside / "jobs"

    def log(self, name: str) -> Path:
        """What the evaluations of a row have printed."""
        return self.inside / f"{name}.log"

    def _note(self, name: str) -> Path:
        """How the newest attempt at a row stands."""
        # plan.json is the sweep's own.
        return self.inside / f"{'.plan' if name == 'plan' else name}.json"

    def plan(self) -> Plan:
        """The sweep as it was last asked for.

        Raises:
            BadInput: none was, or its file is damaged.
        """
        file = self.inside / "plan.json"
        try:
            return of_kind(Plan, read_json(file), file, _AGAIN)
        except OSError as error:
            raise BadInput(
                f"{self.folder} is no folder of a sweep ({file.name}: {error.strerror}); name the "
                "--output of one."
            ) from error
        except ValueError as error:
            raise BadInput(f"{file} is damaged ({error}); {_AGAIN}") from error

    def known(self) -> dict[str, Planned]:
        """The rows that were asked for before; none where no sweep was."""
        try:
            return self.plan().rows
        except BadInput:
            return {}

    def keep(self, plan: Plan) -> None:
        """Writes down what is asked for."""
        text = json.dumps(asdict(plan), indent=2, ensure_ascii=False)
        atomic_write(self.inside / "plan.json", text + "\n")

    def attempt(self, name: str) -> Attempt | None:
        """The newest attempt at a row; None where there was none, or its file is damaged."""
        file = self._note(name)
        try:
            return of_kind(Attempt, read_json(file), file, _AGAIN)
        except (OSError, ValueError, BadInput):
            return None

    def note(self, name: str, attempt: Attempt) -> None:
        """Writes down how an attempt stands."""
        atomic_write(self._note(name), json.dumps(asdict(attempt)) + "\n")

    def bad_end(self, name: str, attempt: Attempt) -> str:
        """What is said of an attempt at a row that has not come to its end."""
        if attempt.state == "stopped":
            return "stopped"
        return f"failed: {attempt.why} (all it said: {self.log(name)})"

    def forget(self, name: str) -> None:
        """A new attempt is asked for."""
        self._note(name).unlink(missing_ok=True)

    def standing(self, name: str, planned: Planned, queue: Callable[[str], str | None]) -> Standing:
        """How a row stands now.

        Args:
            queue: what a queue says of a job that is waiting or running; None of any other.
        """
        found = self.attempt(name)
        state, why, seconds = "waiting", "", None
        job = queue(planned.job) if planned.job else None
        if found is not None:
            seconds = (found.ended or time.time()) - found.began
            state, why = found.state, found.why
        if found is not None and state == "running":
            gone = job is None and planned.job is not None
            alive = _is_alive(found)
            if alive or (alive is None and not gone):
                why = f"process {found.pid} on {found.host}"
            else:
                state, seconds = "stopped", None
                why = "it was killed on the way; the same command goes on with it"
        if state == "done" and not (
            found is not None
            and found.made_of == planned.made_of
            and (self.folder / name / "results.json").is_file()
        ):
            state, why, seconds = "waiting", "", None
        if job is not None and state in ("waiting", "stopped"):
            state, why, seconds = "queued", f"job {planned.job}: {job.lower()}", None
        return Standing(name, planned.model, state, why, seconds)


def planned(row: Row, program: Sequence[str], known: Mapping[str, Planned]) -> Planned:
    """A row as it is written down; one that was asked for before keeps its job."""
    command = (*program, "evaluate", *arguments(row.options))
    before = known.get(row.name)
    parts: list[object] = [command, __version__]
    for place in (row.options.model, row.options.adapter, row.options.tokenizer):
        if place is not None and is_folder(place):
            parts.append(_stamp(Path(place).expanduser()))
    made_of = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    job = before.job if before is not None and before.made_of == made_of else None
    return Planned(row.options.model, key(row.options), command, made_of, job)


def begun(made_of: str) -> Attempt:
    """An attempt that this process begins to look after."""
    import psutil

    born = psutil.Process().create_time()
    return Attempt("running", made_of, socket.gethostname(), os.getpid(), born, time.time())


def _stamp(folder: Path) -> list[tuple[str, int, int]]:
    """Size and time of every file of a model: what a new one in its place differs in."""
    return sorted(
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.is_file()
    )


def _is_alive(attempt: Attempt) -> bool | None:
    """Whether the process that looks after an attempt is there; None on another machine."""
    import psutil

    if attempt.host != socket.gethostname():
        return None
    try:
        return bool(abs(psutil.Process(attempt.pid).create_time() - attempt.born) < 2)
    except psutil.Error:
        return False
