"""A finished run directory, opened to be shown: what it was asked and what it found."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.json_file import read_json
from bfpo_bench.common.paths import short_paths
from bfpo_bench.common.text import one_line
from bfpo_bench.leaderboard.render.escaping import name_text
from bfpo_bench.run.panel import judge_named
from bfpo_bench.run.results import Results
from bfpo_bench.run.results_files import read_results, results_files
from bfpo_bench.run.run_json import read_evaluation

_LONGEST_NAME = 40
"""Characters of a name that are kept where its folder has to stand behind it."""


@dataclass(frozen=True)
class Run:
    """A run directory.

    Attributes:
        identity: all that its answers depend on (``run.json``).
        results: of the judge that was asked for, by default of the evaluation's own.
    """

    path: Path
    identity: dict[str, Any]
    results: Results

    @property
    def judge(self) -> str | None:
        """Name of the judge of these results; None without judged tasks."""
        return str(self.results.judge["judge"]) if self.results.judge else None

    @property
    def samples(self) -> Path | None:
        """The store; None where the run was copied without it."""
        file = self.path / "samples.sqlite"
        return file if file.is_file() else None


def open_run(path: Path, judge: str | None = None) -> Run:
    """Reads a run directory; no samples.

    Args:
        judge: take this judge's results (``bfpo-bench judge``) where it is not the run's own;
            several, by comma, stand for their majority.

    Raises:
        BadInput: no run, a newer schema, not finished, damaged, or never seen by that judge.
    """
    content = read_evaluation(path)
    if not os.path.lexists(path / "results.json"):
        raise BadInput(
            f"{path} is a half-finished run (it has no results.json yet); run the same evaluate "
            "command again, it goes on where it stopped."
        )
    results = read_results(path / "results.json")
    # A card's own name may have a comma.
    wanted = (judge, judge_named(judge)) if judge else ()
    if wanted and (results.judge is None or results.judge["judge"] not in wanted):
        files = [file for name in wanted for file in results_files(path, name)]
        if not files:
            raise BadInput(
                f"{path} holds no verdicts of the judge {judge}; let it judge with `bfpo-bench "
                f"judge {path} --judge {judge}`."
            )
        results = read_results(files[0])
    return Run(path, content["identity"], results)


def told_apart(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Names of runs; those that read alike say the folder too, as shortly as it can be told."""
    same: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        same.setdefault(name_text(name), []).append(number)
    found = list(names)
    taken = {name for name, some in same.items() if len(some) == 1}
    for name, some in same.items():
        if len(some) == 1:
            continue
        short = short_paths(paths[number] for number in some)
        # A long name is cut, lest the folder behind it were.
        begin = one_line(name, _LONGEST_NAME)
        for place, number in enumerate(some, 1):
            ways = (short[paths[number]], f"{place} of {len(some)}")
            named = (f"{begin} ({way})" for way in ways)
            found[number] = next((one for one in named if name_text(one) not in taken), name)
            taken.add(name_text(found[number]))
    return found


def training_record(path: Path) -> dict[str, Any]:
    """How the model was trained, where its record lies in the run; empty where none does."""
    try:
        record = read_json(path / "training.json")
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


class Training(NamedTuple):
    """Of which training a model comes.

    Attributes:
        method: as its recipe calls it.
        common: what trainings have in common that differ in their seed. Data that the seed draws
            (a limit, a share that is held out) are not compared, only what they are drawn from.
        seeds: of each stage, the last one first.
    """

    method: str
    common: str
    seeds: tuple[int, ...]


def training(path: Path) -> Training | None:
    """How the model of a run was trained; None where the run has no whole record of it."""
    record = training_record(path)
    stages = []
    recipe = record.get("recipe")
    while isinstance(recipe, dict):
        stages.append(recipe)
        recipe = recipe.get("first")
    try:
        seeds = tuple(int(stage["seed"]) for stage in stages)
        data = {one["name"]: one["digest"] for one in record["data"]}
        every = bool(stages[0]["eval"] and stages[0]["eval"]["share"])
        drawn = {one["name"] for one in stages[0]["data"] if every or one["limit"]}
        # A second stage begins with a model that the seed has made.
        base = stages[-1]["base"] if len(stages) > 1 else record["base"]["weights"]
    except (LookupError, TypeError, ValueError):
        return None
    common = {
        "recipe": [
            {key: value for key, value in stage.items() if key not in ("seed", "first", "base")}
            for stage in stages
        ],
        "base": base,
        "data": {name: digest for name, digest in data.items() if name not in drawn},
        "rewards": record.get("rewards"),
    }
    return Training(str(record.get("method")), json.dumps(common, sort_keys=True), seeds)
