"""The command line. One file per command; nothing heavy is imported before a command runs."""

from __future__ import annotations

import errno
import sys
from typing import NoReturn

from bfpo_bench.cli.encoding import write_anything
from bfpo_bench.common.interrupts import INTERRUPTED, Interrupts, say_stopped
from bfpo_bench.common.loggers import clean_messages
from bfpo_bench.common.text import sentence, visible

_NOWHERE = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR)
"""What the system says of a place that a user names and nobody can use, wherever it is tried."""


def main() -> None:
    """Entry point of ``bfpo-bench``: runs a command and turns failures into one sentence.

    Exit codes: 0 done, 1 the run failed, 2 bad input, 130 interrupted (Ctrl-C or SIGTERM).
    """
    interrupts = Interrupts()
    write_anything()
    clean_messages()
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        from bfpo_bench.cli.app import COMMANDS, app
        from bfpo_bench.common.progress import command

        name = next((word for word in sys.argv[1:] if word in COMMANDS), "")
        with command(f"bfpo-bench {name}".strip()):
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
            import traceback

            print(visible(traceback.format_exc()), end="", file=sys.stderr)
            sys.exit(1)
        sys.exit(_explained(error))


def _stopped() -> NoReturn:
    say_stopped()
    # CPython ends itself by the signal, whatever the exit code, when an interrupt came out of the
    # exec() of a text (as in the import of a dataclass) and no text has been executed since.
    exec("")
    sys.exit(INTERRUPTED)


def _explained(error: BaseException) -> int:
    """Says in one sentence what went wrong; the exit code for it."""
    from bfpo_bench.common.errors import BenchError, disk_is_full, first_line

    if isinstance(error, BenchError):
        first, *more = error.lines or ("",)
        for line in (f"bfpo-bench: {first}", *more):
            print(sentence(line), file=sys.stderr)
        return error.exit_code
    if disk_is_full(error):
        said = f"bfpo-bench: a disk is full ({first_line(error)}); free some and run this again."
        print(sentence(said), file=sys.stderr)
        return 1
    if isinstance(error, OSError) and error.filename and error.errno in _NOWHERE:
        said = (
            f"bfpo-bench: {error.filename} cannot be used ({error.strerror}); name another place."
        )
        print(sentence(said), file=sys.stderr)
        return 2
    said = (
        f"bfpo-bench: unexpected {type(error).__name__}: {error}; run again with --debug to "
        "see where, and please report it."
    )
    print(sentence(said), file=sys.stderr)
    return 1
