"""Progress of long work: bars on a terminal, a line a minute in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from bfpo_bench.common.text import sentence

WIDE = 120
"""Columns of a terminal with room for everything; a narrower one gets no bar, but all numbers."""


LINE_SECONDS = 60.0
"""How often a stage writes a line where there is no terminal. A shorter one writes none."""


class Lines:
    """Writes where a stage stands on standard error, once a minute, whatever else is silent.

    Args:
        title: of the stage.
        total: how many there are.
        done: how many were done before.
        unit: what they are.
    """

    def __init__(self, title: str, total: int, done: int = 0, unit: str = "items") -> None:
        self.title, self.unit = title, unit
        self.total, self.done = total, done
        self.note = ""
        self._begin, self._first = time.monotonic(), done
        self._ended = threading.Event()
        self._written = False
        threading.Thread(target=self._write_on, name="bfpo-progress", daemon=True).start()

    def close(self) -> None:
        """The stage has ended; one that has written before says so."""
        self._ended.set()
        if self._written:
            self._write()

    def text(self) -> str:
        """``respond advbench: 120/520 responses (23 %), 0.4/s, 0:17:05 left``."""
        seconds = max(time.monotonic() - self._begin, 1e-6)
        rate = (self.done - self._first) / seconds
        share = f" ({100 * self.done // self.total} %)" if self.total else ""
        parts = [f"{self.title}: {self.done}/{self.total} {self.unit}{share}"]
        if rate > 0:
            left = timedelta(seconds=round((self.total - self.done) / rate))
            parts += [f"{rate:.3g}/s", f"{left} left"]
        return ", ".join([*parts, self.note] if self.note else parts)

    def _write_on(self) -> None:
        while not self._ended.wait(LINE_SECONDS):
            self._written = True
            self._write()

    def _write(self) -> None:
        _write_line(self.text())


def _write_line(text: str) -> None:
    print(sentence(f"{time.strftime('%H:%M')} {text}"), file=sys.stderr, flush=True)


class Progress:
    """Bars for the stages of a run, on standard error; lines where that is no terminal.

    Results go to standard output, so that they can be piped while the bars are seen.

    Args:
        show: False for silence, True for bars; None goes by what standard error is.
    """

    def __init__(self, show: bool | None = None) -> None:
        self._show = sys.stderr.isatty() if show is None else show
        self._by_line = show is None and not self._show
        self._lines: Lines | None = None
        self._bars: Any = None
        self._current: Any = None
        self._begin = 0.0
        self._count = 0
        self._tokens = 0

    @property
    def silent(self) -> bool:
        """Whether nothing is said at all."""
        return not (self._show or self._by_line)

    @contextmanager
    def stage(self, title: str, total: int, done: int = 0, unit: str = "items") -> Iterator[None]:
        """A bar while the body runs; advance it with :meth:`advance`."""
        if self._by_line:
            self._lines = Lines(title, total, done, unit)
            try:
                yield
            finally:
                self._lines.close()
                self._lines = None
            return
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
            self._current = bars.add_task(
                sentence(title), total=total, completed=done, note="", rate=""
            )
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
        if self._lines is not None:
            self._lines.done += count
            self._lines.note = note
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
        if self._lines is not None:
            self._lines.done, self._lines.total, self._lines.note = done, total, note
        if self._bars is not None:
            self._bars.update(self._current, completed=done, total=total, note=note)

    def say(self, text: str) -> None:
        """One line about what happens next, e.g. that a model is being loaded."""
        if self._show:
            from rich.console import Console

            Console(stderr=True, highlight=False).print(sentence(text), markup=False)

    def note(self, text: str) -> None:
        """One line to know what is computed, e.g. in what number format; it stands in logs too."""
        if self._by_line:
            _write_line(text)
        else:
            self.say(text)
