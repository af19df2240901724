"""A training in trackers: its curves while they are drawn, and what it ended with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations.integration_utils import rewrite_logs

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.foreign import place_of
from bfpo_bench.common.packages import find_spec
from bfpo_bench.common.progress import Progress
from bfpo_bench.run.session import package_versions
from bfpo_bench.trackers import TRACKERS, Reports, Subject, check_trackers
from bfpo_bench.training.recipe import Recipe

THEIRS = ("tensorboard", "trackio")
"""Names of ``report_to`` that transformers reports to by itself, which are those of packages."""

_ENDS = ("train_", "total_")
"""How names begin of what transformers logs once, at the end."""


def check_report_to(recipe: Recipe) -> None:
    """Refuses a tracker that cannot be reported to, before anything is loaded.

    Raises:
        BadInput: an unknown name, a package that is not installed, or settings of it.
    """
    for name in recipe.report_to:
        if name not in (*TRACKERS, *THEIRS):
            raise unknown_name("report_to", name, (*TRACKERS, *THEIRS))
        if name in THEIRS and find_spec(name) is None:
            raise BadInput(
                f"report_to names {name}, which is not installed; install it (pip install {name}) "
                "or take it out of the recipe."
            )
    check_trackers(ours(recipe))


def ours(recipe: Recipe) -> list[str]:
    """The trackers that we report to."""
    return [name for name in recipe.report_to if name in TRACKERS]


class TrainingReports(Reports):
    """The runs of a training in the trackers of its recipe.

    Args:
        identity: from :func:`~bfpo_bench.training.identity.training_identity`.
        main: whether this is the process that reports.
    """

    def __init__(
        self,
        recipe: Recipe,
        output: Path,
        identity: Mapping[str, Any],
        progress: Progress,
        main: bool,
    ) -> None:
        place = place_of(output)
        known = [recipe.method, identity["base weights"], identity["data"]]
        config = {
            "recipe": recipe.as_dict(),
            "base_weights": identity["base weights"],
            "data": identity["data"],
            "output": str(place),
            "versions": package_versions(),
        }
        name = f"{place.parent.name}/{place.name}".lstrip("/")
        subject = Subject("train", name, [str(place), *known], config)
        super().__init__(ours(recipe) if main else [], subject, progress)

    def end(self, record: Mapping[str, Any]) -> None:
        """Reports what ``training.json`` holds; the numbers by transformers' names."""
        curves = record.get("curves", [])
        numbers = {
            name: value
            for entry in curves
            for name, value in _numbers(entry).items()
            if name.startswith(_ENDS)
        }
        numbers |= _numbers({name: record.get(name) for name in ("updates", "trained_parameters")})
        self.finish(numbers, curves=[point for entry in curves if (point := _point(entry))[1]])


class Curves(TrainerCallback):  # type: ignore[misc]
    """Reports what Trainer logs."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Makes or finds the runs."""
        self._reports.begin()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Adds the newest entry."""
        step, values = _point(state.log_history[-1])
        if values:
            self._reports.log((step, values))


def _point(entry: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
    """An entry of Trainer's log by the names that its own integrations give it."""
    numbers = _numbers(entry)
    values = {name: n for name, n in numbers.items() if not name.startswith(_ENDS)}
    step = int(values.pop("step", 0))
    return step, rewrite_logs(values) if values.keys() - {"epoch"} else {}


def _numbers(entry: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in entry.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
