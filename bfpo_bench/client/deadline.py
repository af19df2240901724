"""One deadline for all of an answer.

A time-out of a socket begins anew with every byte. A server that drips an answer, be it headers,
``100 Continue``, body or trailers, would be waited for without end; so somebody else looks at the
clock, and cuts the connection off.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import Protocol

TICK = 0.1
"""Seconds between two looks at the clock."""


class Bounded(Protocol):
    """What has deadlines: whatever it is doing is ended once one is over."""

    def end_overdue(self) -> None:
        """Called from another thread, every :data:`TICK`."""


_lock = threading.Lock()
_watched: weakref.WeakSet[Bounded] = weakref.WeakSet()
_watcher: threading.Thread | None = None


def watched(one: Bounded) -> None:
    """Has it asked, for as long as it lives, whether it is overdue."""
    global _watcher
    with _lock:
        _watched.add(one)
        # A process that was forked has the set, and no thread.
        if _watcher is None or not _watcher.is_alive():
            _watcher = threading.Thread(target=_watch, name="bfpo-deadlines", daemon=True)
            _watcher.start()


def _watch() -> None:
    global _watcher
    while True:
        time.sleep(TICK)
        with _lock:
            if not _watched:
                _watcher = None
                return
            now = list(_watched)
        while now:  # and nobody is kept alive for the sake of being watched
            now.pop().end_overdue()
