"""What a child process that is forked during a run does not inherit: its lock, and a life alone.

An engine's helper that was forked would outlive a run killed with ``kill -9``: with its memory and,
being a copy, with the lock on the run directory. So a child lets the lock go at once, and asks the
kernel to be killed when its parent ends. (A helper that is spawned, as vLLM does on a CPU, has no
lock and is not reached from here: engines/guard.py sees to it.)
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

locks: set[int] = set()
"""Descriptors that no forked child keeps: the locks on run directories that this process holds, and
the pipes that tell a watcher of its end (see engines/guard.py)."""

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
    if _parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != _parent:  # it ended just before
            os._exit(1)


os.register_at_fork(before=_before, after_in_child=_in_child)
