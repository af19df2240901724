"""Progress of long work on a terminal; silence everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WIDE = 120
"""Columns of a terminal with room for everything; a narrower one gets no bar, but all numbers."""


class Progress:
    """Bars for the stages of a run, on standard error, and only if that is a terminal.

    Results go to standard output, so that they can be piped while the bars are seen.
    """

    def __init__(self, show: bool | None = None) -> None:
        self._show = sys.stderr.isatty() if show is None else show
        self._bars: Any = None
        self._current: Any = None
        self._begin = 0.0
        self._count = 0
        self._tokens = 0

    @contextmanager
    def stage(self, title: str, total: int, done: int = 0, unit: str = "items") -> Iterator[None]:
        """A bar while the body runs; advance it with :meth:`advance`."""
        if not self._show:
            yield
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            ProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars
        from rich.table import Column

        def text(markup: str) -> ProgressColumn:
            return TextColumn(markup, table_column=Column(no_wrap=True))

        console = Console(stderr=True)
        wide = console.width >= WIDE
        columns = [
            text("{task.description:<36}") if wide else text("{task.description}"),
            *([BarColumn(bar_width=20)] if wide else []),
            MofNCompleteColumn(),
            *([text(unit)] if wide else []),
            text("{task.fields[rate]}"),
            *([TimeElapsedColumn()] if wide else []),
            text("left"),
            TimeRemainingColumn(),
            text("{task.fields[note]}"),
        ]
        with Bars(*columns, console=console) as bars:
            self._bars = bars
            self._current = bars.add_task(title, total=total, completed=done, note="", rate="")
            self._begin, self._count, self._tokens = time.monotonic(), 0, 0
            try:
                yield
            finally:
                self._bars = self._current = None

    def advance(self, count: int, note: str = "", tokens: int = 0) -> None:
        """Moves the current bar on.

        Args:
            count: items finished since the last call.
            note: stands behind the bar.
            tokens: tokens generated for them, for the rate.
        """
        if self._bars is None:
            return
        self._count += count
        self._tokens += tokens
        seconds = max(time.monotonic() - self._begin, 1e-6)
        rate = f"{self._count / seconds:.1f}/s"
        if self._tokens:
            rate += f" {self._tokens / seconds:,.0f} tokens/s"
        self._bars.update(self._current, advance=count, note=note, rate=rate)

    def set(self, done: int, total: int, note: str = "") -> None:
        """Puts the current bar at `done` of `total`."""
        if self._bars is not None:
            self._bars.update(self._current, completed=done, total=total, note=note)

    def say(self, text: str) -> None:
        """One line about what happens next, e.g. that a model is being loaded."""
        if self._show:
            from rich.console import Console

            Console(stderr=True, highlight=False).print(text, markup=False)
