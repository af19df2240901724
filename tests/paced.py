"""A command that is surely in the middle of its work: it waits before it stores answers.

Run as a program, this is ``bfpo-bench`` that does so, until its standard input is closed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]


class Paced:
    """The other end of such a command.

    Attributes:
        process: of the command.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._waits, told = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.paced", str(told), *arguments],
            cwd=REPO,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[told],
            text=True,
        )
        os.close(told)

    def waits(self) -> bool:
        """Whether it waits before it stores more; False once it has ended."""
        there = os.read(self._waits, 1) != b""
        if not there:
            os.close(self._waits)
        return there

    def go_on(self) -> None:
        """Lets it store these answers, and compute the next ones."""
        assert self.process.stdin is not None
        self.process.stdin.write(".")
        self.process.stdin.flush()

    def run_on(self) -> None:
        """From here on it does not wait any more, though it still says when it stores something."""
        if self.process.stdin is not None:
            self.process.stdin.close()
            self.process.stdin = None

    def end(self) -> str:
        """Lets it run to its end; what it wrote to standard error."""
        return self.process.communicate(timeout=300)[1]


def main(told: int, arguments: list[str]) -> None:
    """Runs the command."""
    from bfpo_bench.cli import main
    from bfpo_bench.run.store import Store

    insert = Store._insert

    def paced(store: Store, table: str, *more: Any) -> None:
        if table in ("scores", "responses"):
            os.write(told, b".")
            os.read(0, 1)
        insert(store, table, *more)

    Store._insert = paced  # type: ignore[method-assign]
    sys.argv = ["bfpo-bench", *arguments]
    main()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
