"""The command line. One file per command; nothing heavy is imported before a command runs."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130


class _Interrupts:
    """Ctrl-C: the first one winds the command up in good order, the second one ends it at once.

    That there was one is kept here, because the ``KeyboardInterrupt`` may not get through: an
    extension module that it meets while it is being imported turns it into an error of its own.
    """

    def __init__(self) -> None:
        self.seen = False
        # A shell starts background jobs with Ctrl-C switched off; that is left so.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._came)
            # Registered first, called last: from here on Python would let the signal kill it,
            # although the command has ended and its exit code is settled.
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self.seen:
            os._exit(INTERRUPTED)
        self.seen = True
        raise KeyboardInterrupt


def main() -> None:
    """Entry point of ``bfpo-bench``: runs a command and turns failures into one sentence.

    Exit codes: 0 done, 1 the run failed, 2 bad input, 130 interrupted.
    """
    interrupts = _Interrupts()
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        from bfpo_bench.cli.app import app

        app()
    except SystemExit as end:
        # typer turns Ctrl-C into a silent exit with 130.
        if end.code == INTERRUPTED or (interrupts.seen and end.code):
            _stopped()
        raise
    except BaseException as error:
        if interrupts.seen or isinstance(error, KeyboardInterrupt):
            _stopped()
        if debug:
            raise
        sys.exit(_explained(error))


def _stopped() -> NoReturn:
    print("Stopped. Run the same command again to go on.", file=sys.stderr)
    # CPython ends itself by the signal, whatever the exit code, when an interrupt came out of the
    # exec() of a text (as in the import of a dataclass) and no text has been executed since.
    exec("")
    sys.exit(INTERRUPTED)


def _explained(error: BaseException) -> int:
    """Says in one sentence what went wrong; the exit code for it."""
    from bfpo_bench.errors import BenchError

    if isinstance(error, BenchError):
        print(f"bfpo-bench: {error}", file=sys.stderr)
        return error.exit_code
    print(
        f"bfpo-bench: unexpected {type(error).__name__}: {error}; run again with --debug to "
        "see where, and please report it.",
        file=sys.stderr,
    )
    return 1
