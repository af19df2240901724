"""No orphans: processes that serve this one end with it, even when it is killed.

vLLM keeps its engine in processes of its own. After ``kill -9`` of the main process they were seen
to live on, holding the memory that the same command needs when it is given again. A process that
is killed cannot clean up, so a small watcher does: it holds the other end of a pipe, and the kernel
closes a pipe whatever way a process ends.

While the engine starts nobody knows yet which processes there will be, and those of a killed parent
cannot be told by their parent any more. So they are marked: by a variable in their environment.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bfpo_bench.common import processes

MARK = "BFPO_BENCH_SERVES"

# Reads until the pipe closes. "done" means that the engine was closed in good order. What is just
# starting may start more: looked at until nothing new is there.
_WATCH = """
import sys, time, psutil
variable, mark = sys.argv[1:]
told = sys.stdin.read().split()

def serves(process):
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if f"{process.pid}:{process.create_time()}" in told:
            return True
        return process.environ().get(variable) == mark
    except psutil.Error:
        return False

quiet = 0
while told[-1:] != ["done"] and quiet < 3:
    found = [process for process in psutil.process_iter() if serves(process)]
    for process in found:
        try:
            process.kill()
        except psutil.Error:
            pass
    quiet = 0 if found else quiet + 1
    time.sleep(0.3)
"""


class Guard:
    """Ends what was started in :meth:`starting` once this process is gone."""

    def __init__(self) -> None:
        self._mark = f"{os.getpid()}-{secrets.token_hex(8)}"
        source, self._pipe = os.pipe()
        # A forked child that held the pipe open would hide this process's end.
        processes.locks.add(self._pipe)
        # A session of its own: Ctrl-C and kill of the whole group must not reach the watcher.
        self._watcher = subprocess.Popen(
            [sys.executable, "-c", _WATCH, MARK, self._mark],
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(source)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Processes that the body starts serve this one. Where it fails, they are ended at once."""
        os.environ[MARK] = self._mark
        try:
            yield
        except BaseException:
            self._end()
            raise
        finally:
            del os.environ[MARK]
        # A forked child's environment, as others see it, is that of its parent.
        self._tell(" ".join(_children(but=self._watcher.pid)))

    def dismiss(self) -> None:
        """The processes have ended in good order; the watcher goes home."""
        self._tell(" done")
        self._end()

    def _tell(self, text: str) -> None:
        with suppress(OSError):  # somebody killed the watcher
            os.write(self._pipe, text.encode("ascii"))

    def _end(self) -> None:
        processes.locks.discard(self._pipe)
        os.close(self._pipe)
        self._watcher.wait()


def _children(but: int) -> list[str]:
    """Process id and time of birth of all children but one: numbers are given out again."""
    import psutil

    found = []
    for child in psutil.Process(os.getpid()).children(recursive=True):
        with suppress(psutil.Error):
            if child.pid != but:
                found.append(f"{child.pid}:{child.create_time()}")
    return found
