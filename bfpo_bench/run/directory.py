"""A run directory: what was asked for, and the lock that keeps two processes apart.

`run.json` holds the *identity* of a run — all that its answers depend on — and, apart from it,
the circumstances (versions, hardware, command lines) that are recorded and compared with nothing.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, why_unwritable
from bfpo_bench.common.files import LOCK, RUN_FILES, atomic_write
from bfpo_bench.common.ownership import Lock
from bfpo_bench.run.identity import joined
from bfpo_bench.run.local_store import LocalStore
from bfpo_bench.run.repair import open_whole
from bfpo_bench.run.run_json import begun, read_run
from bfpo_bench.run.store import Store
from bfpo_bench.run.unanswered import gives_way, holds_any, judged_as

_TEMPORARY = re.compile(r"\.([\w.~-]+\.(json|md|sqlite)\.\d+|trial\.\w+)\.tmp")


class RunDirectory:
    """An open run directory, locked until ``close()``.

    Args:
        path: the folder; made when it is not there.
        identity: what is asked for now (plain JSON values).
        fresh: forget an earlier run in this folder.
        local_scratch: where the open store lies meanwhile; see :mod:`bfpo_bench.run.local_store`.

    Raises:
        BadInput: the folder cannot be written, is used by another process, holds something else,
            or holds answers to something different.
    """

    def __init__(
        self,
        path: Path,
        identity: dict[str, Any],
        fresh: bool = False,
        local_scratch: Path | None = None,
    ) -> None:
        self.path = path
        self._local_scratch = local_scratch
        self._local: LocalStore | None = None
        refuse_checkpoint(path)
        self._lock = _lock(path)
        try:
            self._sweep()
            if fresh:
                self._forget()
            self._content = self._read() or begun(identity)
            self._content["identity"] = self._joined(self._content["identity"], identity)
            self._write()
        except BaseException:
            self.close()
            raise

    @property
    def identity(self) -> dict[str, Any]:
        """Everything asked for in this run so far."""
        identity: dict[str, Any] = self._content["identity"]
        return identity

    @property
    def results_path(self) -> Path:
        """Where ``results.json`` is, or will be."""
        return self.path / "results.json"

    @property
    def scratch(self) -> Path:
        """Where an engine keeps a batch that was stopped; nothing in it is needed afterwards."""
        return self.path / "unfinished"

    def clear_scratch(self) -> None:
        """Removes what no batch will go on with."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def open_store(self) -> Store:
        """The run's answers; those that can still be read, where the file is damaged."""
        place, locks = self.path / "samples.sqlite", self._lock.by_kernel
        if self._local_scratch is None:
            return open_whole(place, locks)
        self._local = LocalStore(self._local_scratch, place, locks)
        return self._local

    def copy_store(self) -> None:
        """Has the run directory hold all answers, where the open store lies elsewhere."""
        if self._local is not None:
            self._local.copy()

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """The sessions on record, each with the environment that it had."""
        return list(self._content["sessions"])

    def record_session(self, session: dict[str, Any], place: int | None = None) -> int:
        """Notes one session of this run: times, versions and hardware.

        Those of the newest session that was the model's own stand above the sessions too; one of
        version 0.1 has none.

        Args:
            place: what was returned for the same session before; None for a new one.
        """
        if "judge" not in session and "environment" in session:
            self._content["environment"] = session["environment"]
        sessions = self._content["sessions"]
        if place is None:
            place = len(sessions)
            sessions.append(session)
        sessions[place] = session
        self._write()
        return place

    def write_text(self, name: str, text: str) -> None:
        """Writes a file of the run in one step: a reader sees the old or the new one, whole."""
        atomic_write(self.path / name, text)

    def close(self) -> None:
        """Lets the lock go."""
        self._lock.close()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> dict[str, Any] | None:
        file = self.path / "run.json"
        if not file.exists():
            if (self.path / "samples.sqlite").exists():
                raise BadInput(
                    f"{self.path} holds answers but no run.json, so nobody knows of what; "
                    "begin it again with --fresh, or use another run directory."
                )
            return None
        return read_run(self.path)

    def _joined(self, before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
        """The stored identity with what is new added; refuses what differs from answers.

        A run without any gives way, and so does a judge without verdicts: to the command put right.
        """
        both, different, outdated = joined(before, now)
        local = self.open_store if self._local_scratch is not None else None
        if different and not self.results_path.exists() and gives_way(self.path, local):
            self._forget()
            self._content = begun(now)
            return self._joined(now, now)
        if different and not holds_any(self.path, ["verdicts"], local):
            both, different, outdated = joined(judged_as(before, now), now)
        if different:
            raise BadInput(
                f"{self.path} holds a run of something different: {'; '.join(different)}. "
                "Use another run directory, or begin this one again with --fresh."
            )
        if outdated:
            with self.open_store() as store:
                for name in outdated:
                    store.forget_verdicts(name)
        return both

    def _write(self) -> None:
        self.write_text("run.json", json.dumps(self._content, indent=2, ensure_ascii=False) + "\n")

    def _sweep(self) -> None:
        """Removes half-written files of a killed process; under the lock, none is alive."""
        for file in self.path.glob(".*.tmp"):
            if _TEMPORARY.fullmatch(file.name):
                file.unlink(missing_ok=True)

    def _forget(self) -> None:
        """Removes all of an earlier run, the store with its log and what was salvaged of it too."""
        self.clear_scratch()
        # Where version 0.1 has put a run beside a model's weights, that record is the model's.
        model = (self.path / "config.json").exists()
        for pattern in RUN_FILES:
            for file in self.path.glob(pattern):
                if not file.is_dir() and not (model and file.name == "training.json"):
                    file.unlink(missing_ok=True)


def refuse_checkpoint(path: Path) -> None:
    """A run beside a model's weights would write over its ``training.json``, or remove it."""
    if (path / "config.json").exists() and not (path / "run.json").exists():
        raise BadInput(
            f"{path} holds a model (config.json), and a run has files of the same names; name "
            "another run directory."
        )


def _lock(path: Path) -> Lock:
    taken = f"another process is working on {path}; wait for it or use another run directory."
    try:
        path.mkdir(parents=True, exist_ok=True)
        return Lock(path / LOCK, path, taken)
    except OSError as error:
        raise BadInput(
            f"cannot write into {path} ({why_unwritable(error)}); choose another run directory."
        ) from error
