"""A process of its own for each thing that is compared, so that all can take turns.

What else goes on in the machine then slows all of them alike, and memory is each one's own.
"""

from __future__ import annotations

import math
import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from bfpo_bench.common.errors import RunFailed

Work = Callable[[Connection, Any], None]


class OutOfTime(RunFailed):
    """What is compared has not answered in time."""


class Contender:
    """A process at the other end of a pipe.

    Args:
        kind: its name in messages and on the page.
        work: what the process does, a function of a module: it gets its end of the pipe and the
            setup, and sends first what is kept here as ``ready``.
        setup: picklable.
        until: ``time.monotonic()`` after which nobody waits for it.

    Raises:
        OutOfTime: here and in :meth:`ask`, if it takes too long; the process is ended.
        RunFailed: likewise, if the work raised or the process ended.
    """

    def __init__(self, kind: str, work: Work, setup: Any, until: float = math.inf) -> None:
        self.kind = kind
        self._until = until
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(work, theirs, setup))
        self._process.start()
        theirs.close()
        self.ready: Any = self._receive()

    def ask(self, message: Any) -> Any:
        """Sends the message; the process's answer to it."""
        self._pipe.send(message)
        return self._receive()

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join(timeout=60)
        if self._process.is_alive():
            self._process.kill()

    def _receive(self) -> Any:
        left = None if math.isinf(self._until) else max(0.0, self._until - time.monotonic())
        if not self._pipe.poll(left):
            self._process.kill()
            raise OutOfTime(f"{self.kind!r} has run out of time.")
        try:
            found = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RunFailed(
                f"the process of {self.kind!r} ended with code {self._process.exitcode}; see its "
                "output above."
            ) from None
        if isinstance(found, Exception):
            raise RunFailed(f"{self.kind!r} failed: {found}") from found
        return found


def _serve(work: Work, pipe: Connection, setup: Any) -> None:
    try:
        work(pipe, setup)
    except EOFError:
        # Nobody asks any more.
        return
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))
