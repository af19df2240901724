"""Progress of long work: bars on a terminal, lines in a log.

A :class:`Stage` is a piece of work that takes long: how far it is and how fast it goes. Where
standard error is a terminal it is a bar. Anywhere else (Slurm, nohup, CI) it writes lines, none of
them with a carriage return: one for each tenth or minute of it, and one at its end. A process keeps
its stages in one place, innermost last, and never works for more than a minute in silence.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from bfpo_bench.common.text import sentence

WIDE = 120
"""Columns of a terminal with room for everything; a narrower one gets no bar, but all numbers."""

SILENCE_SECONDS = 60.0
"""After so long without a line in a log the innermost stage writes one."""

TENTH_SECONDS = 10.0
"""A further tenth of a stage is worth a line if the last one is so long ago."""

END_SECONDS = 1.0
"""A stage that took so long says its end; a shorter one writes nothing."""

_UNITS = (("s", 1), ("min", 60), ("h", 3600))

_clock = time.monotonic


class Stage:
    """A piece of long work, from its beginning to its end.

    Args:
        title: of the work.
        total: how many there are; None where nobody knows how much work it is.
        done: how many were done before.
        unit: what they are.
    """

    def __init__(
        self, title: str, total: int | None = None, done: int = 0, unit: str = "items"
    ) -> None:
        self.title, self.unit = title, unit
        self.total, self.done = total, done
        self.note = ""
        self._begin, self._first, self._tokens = _clock(), done, 0
        self._seen: Callable[[], None] = lambda: None

    def advance(self, count: int, note: str = "", tokens: int = 0) -> None:
        """So many more are done; `tokens` were generated for them, and `note` is worth seeing."""
        self._tokens += tokens
        self.set(self.done + count, self.total, note)

    def set(self, done: int, total: int | None, note: str = "") -> None:
        """So many are done now, of so many."""
        self.done, self.total, self.note = done, total, note
        self._seen()

    @property
    def seconds(self) -> float:
        """Since its beginning."""
        return _clock() - self._begin

    @property
    def rate(self) -> str:
        """``0.4/s 95 tokens/s``; empty before anything is done."""
        seconds = max(self.seconds, 1e-6)
        made = (self.done - self._first) / seconds
        if made <= 0:
            return ""
        tokens = f" {self._tokens / seconds:,.0f} tokens/s" if self._tokens else ""
        unit, of = next((one for one in _UNITS if made * one[1] >= 0.1), _UNITS[-1])
        number = f"{made * of:.3g}" if made * of < 100 else f"{made * of:,.0f}"
        return f"{number}/{unit}{tokens}"

    def text(self, ended: str = "") -> str:
        """``respond advbench: 120/520 responses (23 %), 0.4/s, 0:17:05 left``.

        Args:
            ended: how, if it has: ``"took"`` or ``"stopped after"``.
        """
        spent = f"{ended} {_short(self.seconds)}" if ended else ""
        if self.total is None:
            return f"{self.title}: {spent or f'{_short(self.seconds)} so far'}"
        share = f" ({100 * self.done // self.total} %)" if self.total else ""
        left = ""
        if self.done > self._first:
            still = (self.total - self.done) * self.seconds / (self.done - self._first)
            left = f"{_short(still)} left"
        count = f"{self.title}: {self.done}/{self.total} {self.unit}".rstrip()
        return ", ".join(filter(None, [f"{count}{share}", self.rate, spent or left, self.note]))


def _short(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


class _Log:
    """The stages of this process that write lines, innermost last, and when the last was written.

    A thread looks after them: work in a library says nothing of itself for as long as it takes.
    """

    def __init__(self) -> None:
        self._stages: list[Stage] = []
        self._lock = threading.RLock()
        self._last = 0.0
        self._tenths = 0
        self._idle = threading.Event()

    @property
    def open(self) -> bool:
        """Whether a command, or another stage, writes into it now."""
        return bool(self._stages)

    @contextmanager
    def keeping(self, stage: Stage) -> Iterator[Stage]:
        """Writes lines of the stage while the body runs, and one when it has ended."""
        stage._seen = lambda: self.look(stage)
        self._enter(stage)
        ended = "stopped after"
        try:
            yield stage
            ended = "took"
        finally:
            with self._lock:
                self._stages.remove(stage)
                if not self._stages:
                    self._idle.set()
            if stage.total is not None and stage.seconds >= END_SECONDS:
                self.write(stage.text(ended))

    def look(self, stage: Stage | None = None) -> None:
        """Writes where a stage stands, if it is time to; the innermost where none is named."""
        with self._lock:
            if stage is None:
                if not self._stages:
                    return
                stage = self._stages[-1]
            silent, tenths = _clock() - self._last, _tenths(stage)
            if silent >= (TENTH_SECONDS if tenths > self._tenths else SILENCE_SECONDS):
                self._tenths = tenths
                self.write(stage.text())

    def write(self, text: str) -> None:
        """A line, with the time of day."""
        with self._lock:
            self._last = _clock()
            line = sentence(f"{time.strftime('%H:%M')} {text}")
            # No work ends because its log is read no more, or because the disk of that is full.
            with suppress(OSError, ValueError):
                print(line, file=sys.stderr, flush=True)

    def _enter(self, stage: Stage) -> None:
        with self._lock:
            self._tenths = _tenths(stage)
            self._stages.append(stage)
            if len(self._stages) > 1:
                return
            self._last = _clock()
            self._idle = threading.Event()
            args = (self._idle,)
            threading.Thread(target=self._watch, args=args, name="bfpo-log", daemon=True).start()

    def _watch(self, idle: threading.Event) -> None:
        while not idle.wait(1.0):
            self.look()


def _tenths(stage: Stage) -> int:
    return 10 * stage.done // stage.total if stage.total else 0


_log = _Log()


@contextmanager
def command(name: str) -> Iterator[None]:
    """A whole command: where standard error is no terminal, it is never silent for long.

    What it does outside its stages (fetching a model, drawing a bootstrap) is told by its name; the
    bars of libraries, which a file is no place for, are off. One process of several speaks.
    """
    if sys.stderr.isatty():
        yield
        return
    os.environ.setdefault("TQDM_DISABLE", "1")
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    with _log.keeping(Stage(name)):
        yield


@contextmanager
def logged(title: str, total: int | None = None, unit: str = "items") -> Iterator[Stage]:
    """A stage of a command in a log, nothing anywhere else: of what seldom takes a minute."""
    stage = Stage(title, total, unit=unit)
    if not _log.open:
        yield stage
        return
    with _log.keeping(stage):
        yield stage


class Progress:
    """Bars for the stages of a run, on standard error; lines where that is no terminal.

    Results go to standard output, so that they can be piped while the bars are seen.

    Args:
        show: False for silence, True for bars; None goes by what standard error is.
    """

    def __init__(self, show: bool | None = None) -> None:
        self._show = sys.stderr.isatty() if show is None else show
        self._by_line = show is None and not self._show
        self._stages: list[Stage] = []

    @property
    def silent(self) -> bool:
        """Whether nothing is said at all."""
        return not (self._show or self._by_line)

    @contextmanager
    def stage(
        self, title: str, total: int | None = None, done: int = 0, unit: str = "items"
    ) -> Iterator[Stage]:
        """Shows a stage while the body runs; also by :meth:`advance` and :meth:`set`.

        One of which nobody knows how long it takes (`total` None) is said as it begins.
        """
        stage = Stage(title, total, done, unit)
        if total is None:
            self.say(f"{title[:1].upper()}{title[1:]} …")
        self._stages.append(stage)
        try:
            with self._shown(stage):
                yield stage
        finally:
            self._stages.remove(stage)

    @contextmanager
    def _shown(self, stage: Stage) -> Iterator[None]:
        if self._by_line:
            with _log.keeping(stage):
                yield
        elif self._show and stage.total is not None:
            with _bar(stage):
                yield
        else:
            yield

    def advance(self, count: int, note: str = "", tokens: int = 0) -> None:
        """Moves the innermost stage on; see :meth:`Stage.advance`."""
        for stage in self._stages[-1:]:
            stage.advance(count, note, tokens)

    def set(self, done: int, total: int, note: str = "") -> None:
        """Puts the innermost stage at `done` of `total`."""
        for stage in self._stages[-1:]:
            stage.set(done, total, note)

    def say(self, text: str) -> None:
        """One line: what happens next, or what to know of it, e.g. a model's number format."""
        if self._by_line:
            _log.write(text)
        elif self._show:
            from rich.console import Console

            Console(stderr=True, highlight=False).print(sentence(text), markup=False)


@contextmanager
def _bar(stage: Stage) -> Iterator[None]:
    """A bar that shows the stage while the body runs."""
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

    def text(shown: str) -> ProgressColumn:
        return TextColumn(shown, markup=False, table_column=Column(no_wrap=True))

    console = Console(stderr=True)
    wide = console.width >= WIDE
    columns = [
        text("{task.description:<36}") if wide else text("{task.description}"),
        *([BarColumn(bar_width=20)] if wide else []),
        MofNCompleteColumn(),
        *([text(stage.unit)] if wide else []),
        text("{task.fields[rate]}"),
        *([TimeElapsedColumn()] if wide else []),
        text("left"),
        TimeRemainingColumn(),
        text("{task.fields[note]}"),
    ]
    with Bars(*columns, console=console) as bars:
        task: Any = bars.add_task(
            sentence(stage.title), total=stage.total, completed=stage.done, note="", rate=""
        )
        stage._seen = lambda: bars.update(
            task, completed=stage.done, total=stage.total, note=stage.note, rate=stage.rate
        )
        yield
