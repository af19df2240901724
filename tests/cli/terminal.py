"""A terminal for tests: a program that runs in it cannot tell it from a person's."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[()][A-Z0-9]")


def run_in_terminal(command: Sequence[str], columns: int = 120) -> tuple[int, str]:
    """Runs a command whose three standard streams are a terminal of that width.

    Returns:
        exit code, and everything it wrote there, control sequences included.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    hidden = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "CI")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(theirs)
    written = bytearray()
    try:
        while piece := os.read(ours, 1 << 16):
            written += piece
    except OSError as error:
        if error.errno != errno.EIO:  # Linux says so when the last writer has closed it
            raise
    finally:
        os.close(ours)
    return process.wait(timeout=60), written.decode("utf-8", errors="replace")


def frames(written: str) -> list[str]:
    """The lines that stood on the screen at one time or another, without control sequences."""
    lines = re.split(r"[\r\n]+", _ESCAPES.sub("", written))
    return [line.rstrip() for line in lines if line.strip()]
