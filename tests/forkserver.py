"""Processes that start at once: forks of one that has imported what takes them seconds."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import context, forkserver


class _Process(context.ForkServerProcess):
    """With the environment of who starts it, not of the process that it is forked from."""

    def start(self) -> None:
        self._environment = dict(os.environ)
        super().start()

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self._environment)
        super().run()


class _Context(context.ForkServerContext):
    Process = _Process  # type: ignore[assignment]


@contextmanager
def imported(modules: Sequence[str]) -> Iterator[context.BaseContext]:
    """What starts processes in which these modules are there already."""
    found = _Context()
    _end()
    found.set_forkserver_preload(list(modules))
    try:
        yield found
    finally:
        _end()


def _end() -> None:
    """The next process is forked from a new one, which imports anew."""
    if (pid := forkserver._forkserver._forkserver_pid) is not None:
        os.kill(pid, signal.SIGKILL)
        # Not reaped: that is how its successor learns of its end.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
