"""Ctrl-C and SIGTERM: the first one winds the command up, a second Ctrl-C ends it at once.

SIGTERM is how Slurm, docker and a shutdown announce that they will kill in a moment. It is treated
like Ctrl-C, down to the exit code; only that a second one changes nothing, for it is often sent
twice, and whoever is impatient has SIGKILL.
"""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
# Where Python says that the frames of its import machinery come from.
_IMPORTS = "<frozen importlib._bootstrap>"
# A shorter wait is not worth a sentence.
_SAY_AFTER_SECONDS = 1.0


class Interrupts:
    """Turns SIGINT and SIGTERM into ``KeyboardInterrupt``, but never in the middle of an import.

    An exception that an extension module meets while it initialises becomes an error of the
    module's own or ends the process (libtorch aborts: ``terminate called after throwing an
    instance of 'pybind11::error_already_set'``), and what it leaves is half imported. So a signal
    in an import ends the process there and then, as by default: what was computed is stored.

    Args:
        quiet: say nothing then, as befits a worker whose parent speaks.

    ``seen``: that there was one is kept, because even so somebody may swallow it.
    """

    def __init__(self, quiet: bool = False) -> None:
        global _installed
        self.seen = False
        self._quiet = quiet
        self._held = self._due = False
        # A shell starts background jobs with Ctrl-C switched off; that is left so.
        for number, default in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGTERM, signal.SIG_DFL),
        ):
            if signal.getsignal(number) is default:
                signal.signal(number, self._came)
                # Registered first, called last: from here on Python would let the signal kill it,
                # although the command has ended and its exit code is settled.
                atexit.register(signal.signal, number, signal.SIG_IGN)
                _installed = self

    @contextmanager
    def hold(self) -> Iterator[None]:
        """A first signal during the body is raised at its end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._due:
            self._due = False
            raise KeyboardInterrupt

    @property
    def due(self) -> bool:
        """Whether a signal waits for the end of :meth:`hold`."""
        return self._due

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self.seen:
            if number == signal.SIGTERM:
                return
            os._exit(INTERRUPTED)
        self.seen = True
        if self._held:
            self._due = True
            # Not threading.Timer: it takes locks that the interrupted code may hold.
            _thread.start_new_thread(self._patience, ())
            return
        while frame is not None:
            if frame.f_code.co_filename == _IMPORTS:
                if not self._quiet:
                    say_stopped()
                os._exit(INTERRUPTED)
            frame = frame.f_back
        raise KeyboardInterrupt

    def _patience(self) -> None:
        time.sleep(_SAY_AFTER_SECONDS)
        if self._due:
            print(
                "Stopping as soon as what is under way is done; Ctrl-C again stops at once.",
                file=sys.stderr,
                flush=True,
            )


_installed: Interrupts | None = None


@contextmanager
def held() -> Iterator[None]:
    """Keeps a first Ctrl-C or SIGTERM waiting until the body ends, seconds at most.

    A body that takes longer asks :func:`stop_is_due` now and then.

    Only where the command line has put its :class:`Interrupts` in place; in other programs the
    signal is their own affair.
    """
    if _installed is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    with _installed.hold():
        yield


def stop_is_due() -> bool:
    """Whether a signal waits for the end of :func:`held`: what can end early should now."""
    return _installed is not None and _installed.due


def _in_child() -> None:
    """What is forked is not asked to wind anything up: SIGTERM ends it."""
    if _installed is not None and signal.getsignal(signal.SIGTERM) == _installed._came:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_in_child)


def say_stopped() -> None:
    """The last sentence of a command that was interrupted."""
    print("Stopped. Run the same command again to go on.", file=sys.stderr, flush=True)
