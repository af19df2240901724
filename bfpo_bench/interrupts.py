"""Ctrl-C: the first one winds the command up in good order, the second one ends it at once."""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

INTERRUPTED = 130
# Where Python says that the frames of its import machinery come from.
_IMPORTS = "<frozen importlib._bootstrap>"
# The files of this package in which nothing is begun that would have to be wound up.
_HARMLESS = (f"{Path(__file__).parent}/cli/", f"{Path(__file__).parent}/__main__.py")
_OURS = f"{Path(__file__).parent}/"
_WAIT_SECONDS = 0.05
# A shorter wait is not worth a sentence.
_SAY_AFTER = 20


class Interrupts:
    """Turns SIGINT into ``KeyboardInterrupt``, but never in the middle of an import.

    An exception that an extension module meets while it initialises becomes an error of the
    module's own or ends the process (libtorch aborts: ``terminate called after throwing an
    instance of 'pybind11::error_already_set'``), and what it leaves is half imported. So a first
    Ctrl-C in an import ends the process if the command has begun nothing yet, and otherwise waits
    for the import to end, seconds at most. A second one never waits.

    ``seen``: that there was one is kept, because even so somebody may swallow it.
    """

    def __init__(self) -> None:
        self.seen = False
        self._waits = 0
        self._ours = False
        # A shell starts background jobs with Ctrl-C switched off; that is left so.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._came)
            # Registered first, called last: from here on Python would let the signal kill it,
            # although the command has ended and its exit code is settled.
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self.seen and not self._ours:
            os._exit(INTERRUPTED)
        self.seen = True
        self._ours = False
        files = _importing(frame)
        if files is None:
            raise KeyboardInterrupt
        if not any(file.startswith(_OURS) and not file.startswith(_HARMLESS) for file in files):
            say_stopped()
            os._exit(INTERRUPTED)
        self._wait()

    def _wait(self) -> None:
        """Has the signal come again a little later."""
        self._waits += 1
        if self._waits == _SAY_AFTER:
            print(
                "Stopping as soon as what is loading has loaded; Ctrl-C again stops at once.",
                file=sys.stderr,
                flush=True,
            )
        # Not threading.Timer: it takes locks that the interrupted code may hold.
        _thread.start_new_thread(self._again, ())

    def _again(self) -> None:
        time.sleep(_WAIT_SECONDS)
        self._ours = True
        # To the thread itself, so that a blocking call there ends too.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def say_stopped() -> None:
    """The last sentence of a command that was interrupted."""
    print("Stopped. Run the same command again to go on.", file=sys.stderr, flush=True)


def _importing(frame: FrameType | None) -> list[str] | None:
    """The files of the functions that wait for the outermost import under way; None without one."""
    files: list[str] | None = None
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTS:
            files = []
        elif files is not None:
            files.append(frame.f_code.co_filename)
        frame = frame.f_back
    return files
