"""Evaluations that wait in the middle of their work, for a test that disturbs them there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType


class Holding:
    """While this is open, evaluations of the quick program wait once they have stored something.

    Args:
        program: the quick program.
        name: stands in the command lines of those that wait; all do.
    """

    def __init__(self, program: Sequence[str], name: str = "") -> None:
        self._hold, self._held = (Path(f"{program[-1]}.{what}") for what in ("hold", "held"))
        self._name = name

    def __enter__(self) -> Holding:
        self._held.write_text("")
        self._hold.write_text(self._name)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Lets them go on."""
        self._hold.unlink(missing_ok=True)

    def has(self, name: str) -> bool:
        """Whether one with this in its command line has come so far."""
        return name in self._held.read_text()
