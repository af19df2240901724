"""An evaluation in trackers: its numbers and its table, and no prompt or response."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from bfpo_bench.common.foreign import place_of
from bfpo_bench.common.options import arguments
from bfpo_bench.common.progress import Progress
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.resolve import output_folder
from bfpo_bench.run.average import Average
from bfpo_bench.run.corrected import CorrectedShare
from bfpo_bench.run.identity import GROWING, nameless
from bfpo_bench.run.results import Results
from bfpo_bench.run.run_json import read_evaluation
from bfpo_bench.trackers import Reports, Subject, Table

LATER = (*GROWING, "suite", "judge", "refusal_judge")
"""Parts of a run's identity that a later command may add to."""

ALPACA = ("n", "failed", "win_rate", "win_low", "win_high", "lc_win_rate", "lc_low", "lc_high")
"""Of the Alpaca column."""

_PRIVATE = re.compile(r"--[\w-]*(url|key-env)=")
"""Options in which somebody may have written a key; whom they name stands in the identity."""


def report_results(options: EvaluateOptions, results: Results, progress: Progress) -> None:
    """Reports a finished evaluation to the trackers that its options name.

    The run directory has one run in each, which the same command updates.
    """
    if options.report_to:
        table = {"results": Table.of(results.to_frame())}
        Reports(options.report_to, _subject(options), progress).finish(numbers(results), table)


def numbers(results: Results) -> dict[str, float]:
    """Every number of a run by ``task/part``: a task's, an average's (``savg/score``), Alpaca's;
    each judge's averages and what people's labels correct, with ``judges/NAME/`` and
    ``corrected/`` before that.
    """
    found: dict[str, float] = {}
    frame = results.to_frame()
    parts = frame.select_dtypes("number").columns
    for row in frame.to_dict("records"):
        name = f"{row['task']}/{row['metric']}" if row["group"] == "also" else row["task"]
        found |= {f"{name}/{part}": row[part] for part in parts if _known(row[part])}
    if results.helpfulness is not None:
        alpaca = {f"alpaca/{part}": getattr(results.helpfulness, part) for part in ALPACA}
        found |= {name: value for name, value in alpaca.items() if _known(value)}
    beside: dict[str, Mapping[str, Average | CorrectedShare]] = {}
    if results.panel is not None:
        beside |= {f"judges/{name}": one.averages for name, one in results.panel.members.items()}
    if results.corrected is not None:
        beside |= {"corrected": {**results.corrected.tasks, **results.corrected.averages}}
    for whose, means in beside.items():
        for key, mean in means.items():
            bounds = {"score": mean.value, "low": mean.low, "high": mean.high}
            found |= {f"{whose}/{key}/{part}": v for part, v in bounds.items() if _known(v)}
    return found


def _known(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not math.isnan(value)


def _subject(options: EvaluateOptions) -> Subject:
    place = place_of(output_folder(options))
    content = read_evaluation(place)
    identity = content["identity"]
    same = {part: value for part, value in nameless(identity).items() if part not in LATER}
    config: Mapping[str, Any] = {
        **identity,
        "tasks": {name: task.get("version") for name, task in identity["tasks"].items()},
        "options": [one for one in arguments(options) if not _PRIVATE.match(one)],
        "versions": content.get("environment", {}).get("packages") or {},
        "run_directory": str(place),
    }
    return Subject("evaluate", place.name, [str(place), same], config)
