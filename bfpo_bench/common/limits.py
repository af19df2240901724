"""Foreign programs that run in this process, such as chat templates, within limits."""

from __future__ import annotations

import functools
import math
import os
import resource
import signal
import threading
import time
from types import FrameType, TracebackType

_PAGE = resource.getpagesize()
_DATA = resource.RLIMIT_DATA
_CLOCK = signal.ITIMER_VIRTUAL

_AGAIN = 0.05
"""Seconds until what has swallowed the first exception meets another one."""

_alone = threading.RLock()
_end = math.inf


class Limits:
    """A block that ends in TimeoutError or MemoryError once it computes too long or grows too big.

    Entering and leaving it take some microseconds, so that it can be put around a piece of work of
    a hundred. Even a single operation is ended, such as a power of a million digits. The time is
    what the thread has computed, and limited in the main thread alone, as no other one gets
    signals; the memory is limited on Linux, for all threads as long as the block lasts.

    Args:
        seconds: of computing.
        memory: bytes in addition to what the process takes already.
    """

    def __init__(self, seconds: float, memory: int) -> None:
        self._seconds = seconds
        self._memory = memory

    def __enter__(self) -> None:
        global _end
        _alone.acquire()
        self._before = resource.getrlimit(_DATA)
        used = _used()
        if used is not None:
            limits = [limit for limit in self._before if limit != resource.RLIM_INFINITY]
            resource.setrlimit(_DATA, (min([used + self._memory, *limits]), self._before[1]))
        self._timed = threading.current_thread() is threading.main_thread() and _is_heard()
        if self._timed:
            _end = time.thread_time() + self._seconds
            signal.setitimer(_CLOCK, self._seconds, _AGAIN)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _end
        _end = math.inf
        if self._timed:
            signal.setitimer(_CLOCK, 0)
        resource.setrlimit(_DATA, self._before)
        _alone.release()


def _used() -> int | None:
    """Bytes of this process that :data:`resource.RLIMIT_DATA` counts; None where nobody tells."""
    try:
        return int(os.pread(_statm(os.getpid()), 200, 0).split()[5]) * _PAGE
    except OSError:
        return None


@functools.lru_cache(maxsize=1)
def _statm(process: int) -> int:
    return os.open(f"/proc/{process}/statm", os.O_RDONLY | os.O_CLOEXEC)


@functools.cache
def _is_heard() -> bool:
    """Whether the clock's signal comes here: somebody else may have taken it for another use."""
    free = signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL
    if free:
        signal.signal(signal.SIGVTALRM, _time_is_up)
    return free


def _time_is_up(number: int, frame: FrameType | None) -> None:
    # The clock runs while any thread computes; and the block may be left at this very moment.
    here = frame is not None and frame.f_code.co_filename == __file__
    if time.thread_time() > _end and not here:
        raise TimeoutError
