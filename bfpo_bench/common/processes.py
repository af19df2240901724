"""Processes that serve this one end with it, even when it is killed; none keeps its locks.

Forked children: a helper that was forked would outlive a run killed with ``kill -9``: with its
memory and, being a copy, with the lock on the run directory. So a child lets the lock go at once,
and asks the kernel to be killed when its parent ends.

Others: vLLM keeps its engine in processes of its own, spawned on a CPU. After ``kill -9`` of the
main process they were seen to live on, holding the memory that the same command needs when it is
given again. A process that is killed cannot clean up, so a small watcher does (:class:`Guard`): it
holds the other end of a pipe, and the kernel closes a pipe whatever way a process ends. While the
engine starts nobody knows yet which processes there will be, and those of a killed parent cannot be
told by their parent any more. So they are marked: by a variable in their environment.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

locks: set[int] = set()
"""Descriptors that no forked child keeps: the locks on run directories that this process holds, and
the pipes that tell a watcher of its end."""

_parent = 0


def _before() -> None:
    # The kernel goes by the thread that forks, not by its process: a thread that merely ends must
    # not take the child with it.
    global _parent
    main = threading.current_thread() is threading.main_thread()
    _parent = os.getpid() if locks and main else 0


def _in_child() -> None:
    for descriptor in locks:
        os.close(descriptor)
    locks.clear()
    if _parent:
        end_with(_parent)


def end_with(parent: int) -> None:
    """Has the kernel kill this process, and the program that it becomes, when its parent ends.

    Args:
        parent: process id of the parent, whose main thread has made this one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended just before
            os._exit(1)


os.register_at_fork(before=_before, after_in_child=_in_child)

MARK = "BFPO_BENCH_SERVES"

# Reads until the pipe closes. "done" means that the engine was closed in good order. What is just
# starting may start more: looked at until nothing new is there.
_WATCH = """
import shutil, sys, time, psutil
variable, mark, *folders = sys.argv[1:]
served = int(mark.partition("-")[0])
told = sys.stdin.read().split()

def serves(process):
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if f"{process.pid}:{process.create_time()}" in told:
            return True
        found = process.environ()
        if found:
            return found.get(variable) == mark
        # Who writes itself a title (Ray's agents) overwrites its environment with it; when its
        # parent is gone, too, the logs that it writes tell whose it is. Whom it serves has logs
        # there as well, as have those that were forked from that, and may have a title.
        if process.pid == served or not "".join(process.cmdline()[:1]).startswith("ray::"):
            return False
        inside = tuple(folder + "/" for folder in folders)
        return any(file.path.startswith(inside) for file in process.open_files())
    except psutil.Error:
        return False

quiet = 0
while told[-1:] != ["done"] and quiet < 3:
    found = [process for process in psutil.process_iter() if serves(process)]
    for process in found[:]:
        try:
            found += process.children(recursive=True)
        except psutil.Error:
            pass
    for process in found:
        try:
            process.kill()
        except psutil.Error:
            pass
    quiet = 0 if found else quiet + 1
    time.sleep(0.3)
for folder in folders:
    shutil.rmtree(folder, ignore_errors=True)
"""


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Variables for the time of the body, where the user has not set them.

    They are for the processes that the body starts; of what is started later they are none.
    """
    new = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]


class Guard:
    """Ends what was started in :meth:`starting` once this process is gone.

    Args:
        folder: removed then.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._mark = f"{os.getpid()}-{secrets.token_hex(8)}"
        source, self._pipe = os.pipe()
        # A forked child that held the pipe open would hide this process's end.
        locks.add(self._pipe)
        # A session of its own: Ctrl-C and kill of the whole group must not reach the watcher.
        self._watcher = subprocess.Popen(
            [sys.executable, "-c", _WATCH, MARK, self._mark, *([folder] if folder else [])],
            # This process may be marked itself; its watcher outlives it.
            env={name: value for name, value in os.environ.items() if name != MARK},
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(source)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Processes that the body starts serve this one. Where it fails, they are ended at once."""
        others = _children()
        outer = os.environ.get(MARK)
        os.environ[MARK] = self._mark
        try:
            yield
        except BaseException:
            self.end()
            raise
        finally:
            del os.environ[MARK]
            if outer is not None:
                os.environ[MARK] = outer
        # A forked child's environment, as others see it, is that of its parent. Whom this process
        # had before, the watcher among them, serves something else.
        self._tell(" ".join(_children() - others))

    def dismiss(self) -> None:
        """The processes have ended in good order; the watcher goes home."""
        self._tell(" done")
        self.end()

    def _tell(self, text: str) -> None:
        with suppress(OSError):  # somebody killed the watcher
            os.write(self._pipe, text.encode("ascii"))

    def end(self) -> None:
        """What is left of the processes is ended."""
        locks.discard(self._pipe)
        os.close(self._pipe)
        self._watcher.wait()


def _children() -> set[str]:
    """Process id and time of birth of all children: numbers are given out again."""
    import psutil

    found = set()
    for child in psutil.Process(os.getpid()).children(recursive=True):
        with suppress(psutil.Error):
            found.add(f"{child.pid}:{child.create_time()}")
    return found
