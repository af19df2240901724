"""Reporting to the trackers that a user names: checked before any work, and never in its way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from logging import getLogger
from typing import Annotated, Self

from pydantic import AfterValidator

from bfpo_bench.common.errors import BadInput, BenchError, first_line, unknown_name
from bfpo_bench.common.loggers import errors_only
from bfpo_bench.common.options import Help, split
from bfpo_bench.common.packages import find_spec
from bfpo_bench.common.processes import environment
from bfpo_bench.common.progress import Progress
from bfpo_bench.common.text import valid_text
from bfpo_bench.trackers.protocol import Subject, Table, Tracker

TRACKERS = ("wandb", "mlflow")
"""By the names of their packages."""

LONGEST = 200
"""Characters of what a package says is wrong: addresses, proxies and tries come after that."""

Point = tuple[int, Mapping[str, float]]
"""An update, and the values of curves at it."""

log = getLogger(__name__)


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
    return tuple(dict.fromkeys(names))


ReportTo = Annotated[
    tuple[str, ...],
    split(","),
    AfterValidator(_known),
    Help("wandb, mlflow, or both by comma: numbers go there too.", given=str | None),
]
"""The option of commands."""


def _kind(name: str) -> type[Tracker]:
    if name == "wandb":
        from bfpo_bench.trackers.in_wandb import WandbRun

        return WandbRun
    from bfpo_bench.trackers.in_mlflow import MlflowRun

    return MlflowRun


def check_trackers(names: Iterable[str]) -> None:
    """Sees to it that they can be reported to, before any work.

    Raises:
        BadInput: a package is not installed, or its settings are not right.
    """
    for name in names:
        found = find_spec(name)
        # A folder of that name, which wandb makes in the current one, is no package.
        if found is None or found.origin is None:
            raise BadInput(
                f"{name} is to be reported to and is not installed; run "
                f"`pip install 'bfpo-bench[{name}]'`, or leave it out."
            )
        kind = _kind(name)
        try:
            with environment(dict(kind.variables)), errors_only("mlflow", "wandb"):
                kind.check()
        except BenchError:
            raise
        except Exception as error:
            raise BadInput(
                f"{name} cannot be reported to ({_said(error)}); mend its settings, or leave "
                "it out."
            ) from error


class Reports:
    """One run in each of some trackers. What goes wrong with one is said and stops nothing.

    Args:
        names: of trackers, those of :data:`TRACKERS`.
        progress: says where the runs are.
    """

    def __init__(self, names: Sequence[str], subject: Subject, progress: Progress) -> None:
        self._names = tuple(names)
        # Of names that are no UTF-8; what makes it this one stays.
        said = {part: valid_text(getattr(subject, part)) for part in ("name", "config")}
        self._subject = replace(subject, **said)
        self._progress = progress
        self._open: dict[str, Tracker] = {}

    def begin(self) -> None:
        """Makes or finds the runs, so that :meth:`log` has some."""
        for name in self._names:
            self._try(name, lambda tracker: None)

    def log(self, point: Point) -> None:
        """Adds to the curves, unless that has been done before."""
        for name in tuple(self._open):
            self._try(name, lambda tracker: _go_on(tracker, [point]))

    def finish(
        self,
        numbers: Mapping[str, float],
        tables: Mapping[str, Table] | None = None,
        curves: Iterable[Point] = (),
    ) -> None:
        """Reports what was found, and what of the curves is not there yet; ends the runs.

        A tracker that has failed before is tried once more.
        """
        points = list(curves)
        shown = {name: Table(*map(valid_text, table)) for name, table in (tables or {}).items()}

        def whole(tracker: Tracker) -> None:
            if tracker not in followed:
                _go_on(tracker, points)
            tracker.put(numbers, shown)
            where = tracker.close(whole=True)
            self._progress.say(f"Reported to {tracker.name}: {_keyless(where)}.")

        followed = tuple(self._open.values())
        for name in self._names:
            self._try(name, whole)
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Ends what is open of work that has broken off."""
        if kind is None:
            return
        for name in tuple(self._open):
            self._try(name, lambda tracker: tracker.close(whole=False))
        self._open.clear()

    def _try(self, name: str, work: Callable[[Tracker], object]) -> None:
        kind = _kind(name)
        try:
            with environment(dict(kind.variables)), errors_only("urllib3", "mlflow", "wandb"):
                if name not in self._open:
                    self._open[name] = kind(self._subject)
                work(self._open[name])
        except Exception as error:
            self._open.pop(name, None)
            log.warning(
                "%s was not reported to (%s); all is stored here, and the same command again "
                "reports it.",
                *(name, _said(error)),
            )


def _go_on(tracker: Tracker, points: Iterable[Point]) -> None:
    for step, values in points:
        # What is told of one update may come in two parts, of which the run may hold one.
        if step >= tracker.last_step:
            tracker.log(values, step)


def _said(error: Exception) -> str:
    text = _keyless(first_line(error))
    return text.rstrip(".") if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _keyless(text: str) -> str:
    """A text without what stands before the host in an address."""
    return re.sub(r"//[^/@\s]+@", "//", text)
