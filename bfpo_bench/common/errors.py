"""The two kinds of failure a user can meet, and the exit code each one ends with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class BenchError(Exception):
    """Base of the failures that are reported as one sentence, without a traceback.

    Attributes:
        lines: that sentence; several where several things are wrong, each for a line of its own.
    """

    exit_code = 1

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class BadInput(BenchError):
    """Something the user asked for cannot be had; the sentence says what to do (exit code 2)."""

    exit_code = 2


class NotHere(BadInput):
    """It is not on this machine, and could not be fetched; elsewhere or later it may be had."""


class RunFailed(BenchError):
    """A run stopped although what was asked for was fine (exit code 1); it can be resumed."""

    exit_code = 1


def unknown_name(
    kind: str, name: str, known: Iterable[str], elsewhere: Sequence[str] = ()
) -> BadInput:
    """The error for a misspelt name: names the nearest known one, or lists what there is.

    Args:
        kind: what the name stands for, e.g. ``"task"``.
        name: what was asked for.
        known: every name that would have been right.
        elsewhere: what else may have been meant, though not in this place.
    """
    options = sorted(known)
    close = [*difflib.get_close_matches(name, options, n=1, cutoff=0.5), *elsewhere]
    all_there_is = f"there are: {', '.join(options)}." if options else "there are none."
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else all_there_is
    return BadInput(f"unknown {kind} {name!r}; {hint}")


def why_unwritable(error: OSError) -> str:
    """Why a file or folder could not be made, as a clause."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is in the way"
    return str(error.strerror or error)


def why_unreadable(error: Exception) -> str:
    """The reason alone, without the number and the path of an OSError."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


_FULL = (
    *("No space left", "Disk quota exceeded", "database or disk is full"),
    # PyTorch's archives do not say what the system said.
    *("PytorchStreamWriter failed", "inline_container", "iostream error"),
)
"""How libraries say that a disk is full, by errors of any kind."""


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or what it came of, says that a disk is full."""
    if error is None:
        return False
    return any(said in str(error) for said in _FULL) or disk_is_full(error.__context__)


def first_line(error: BaseException) -> str:
    """The first line of what an error of somebody else's code says; its kind where it is silent."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
