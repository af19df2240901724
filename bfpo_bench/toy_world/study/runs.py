"""Runs the study: every method and its controls with all settings, over regimes and seeds.

Every finished training is a line of ``runs.jsonl``, named by its recipe: a study that was
interrupted goes on after the last one, a changed recipe is trained anew and no other, and arms that
share a recipe share its training.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.progress import Progress
from bfpo_bench.toy_world.datasets import REGIMES, located, write_sets
from bfpo_bench.toy_world.evaluate import Shares, held_out
from bfpo_bench.toy_world.ground_truth import Split
from bfpo_bench.toy_world.models import make_model
from bfpo_bench.toy_world.study.arms import START, Arm, Setting, arms_named
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_file import load_recipe

VALIDATION_PROMPTS, TEST_PROMPTS = 150, 200
"""Harmful requests, and as many harmless ones."""

FRONT = "conflicting"
"""The regime in which knobs are turned all the way."""

Key = tuple[str, int, str]
"""Regime, seed and recipe: a finished run with the same is not done again."""


@dataclass(frozen=True)
class Run:
    """A finished training and what came of it.

    Attributes:
        arm: the first that it was done for.
        rate: highest learning rate.
        recipe: digest of it; paths are no part of a toy recipe.
        validation: what its setting is chosen by.
        test: what is reported; None where nothing is, because a better one was there.
    """

    regime: str
    seed: int
    recipe: str
    arm: str
    rate: float
    validation: Shares
    test: Shares | None

    @property
    def key(self) -> Key:
        """What it is known by."""
        return self.regime, self.seed, self.recipe


@dataclass(frozen=True)
class Cell:
    """An arm in a regime with one seed.

    Attributes:
        best: the run whose setting is chosen, and that setting.
        front: test results by the knob's values, at the chosen rate.
    """

    regime: str
    arm: str
    seed: int
    best: Run
    setting: Setting
    front: dict[float, Shares] = field(default_factory=dict)

    @property
    def test(self) -> Shares:
        """Of the chosen run."""
        assert self.best.test is not None
        return self.best.test


def score(shares: Shares) -> float:
    """What a setting is chosen by: the mean of harmless and helpful, less the broken share, because
    broken text counts as safe."""
    return (shares.harmless + shares.helpful) / 2 - shares.broken


def choose(runs: Sequence[Run]) -> int:
    """Which run has the highest score on the validation prompts; of equal ones the first."""
    return max(range(len(runs)), key=lambda i: (score(runs[i].validation), -i))


def run_study(
    folder: Path,
    seeds: int,
    trials: int,
    regimes: Sequence[str] | None,
    methods: Sequence[str] | None,
    progress: Progress,
) -> list[Cell]:
    """Runs, or goes on with, a study on one thread.

    Args:
        folder: for everything it makes: models, preference sets and ``runs.jsonl``.
        seeds: how many; seed 0, 1, …
        trials: settings that every arm may choose from.
        regimes: None takes all.
        methods: arms by name; None takes all.

    Returns:
        every arm's results in every regime and with every seed.

    Raises:
        BadInput: there is no such regime or method.
    """
    import torch

    for name in regimes or ():
        if name not in REGIMES:
            raise unknown_name("regime", name, REGIMES)
    arms = arms_named(methods)
    # accelerate looks here when its state is first made.
    os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    torch.set_num_threads(1)  # a second one gains such small matrices nothing
    folder.mkdir(parents=True, exist_ok=True)
    study = _Study(folder, progress)
    cells = []
    for seed in range(seeds):
        wanted = [(regime, arm) for regime in regimes or REGIMES for arm in arms]
        with progress.stage(f"seed {seed}", len(wanted), unit="arms"):
            cells.append(study.start(seed))
            for regime, arm in wanted:
                note = f"{arm.name}: none"
                if (cell := study.cell(regime, arm, seed, trials)) is not None:
                    cells.append(cell)
                    said = (cell.test.harmless, cell.test.helpful)
                    note = "{}: harmless {:.0f}, helpful {:.0f}".format(arm.name, *said)
                progress.advance(1, note)
    # Last, for the tables are whole without them.
    by_name = {arm.name: arm for arm in arms if arm.knob is not None}
    turned = [n for n, cell in enumerate(cells) if cell.regime == FRONT and cell.arm in by_name]
    with progress.stage("fronts", len(turned), unit="arms"):
        for n in turned:
            cells[n] = study.with_front(cells[n], by_name[cells[n].arm])
            progress.advance(1, cells[n].arm)
    return cells


class _Study:
    """What is done, and what does the rest."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._runs = read_runs(folder)
        self._lab: tuple[int, Any] | None = None
        self._validation = held_out(Split.VALIDATION, VALIDATION_PROMPTS)
        self._test = held_out(Split.TEST, TEST_PROMPTS)

    def start(self, seed: int) -> Cell:
        """The start model, while nothing has been trained."""
        run = self._run("", START, seed, None)
        return Cell("", START, seed, run, Setting(0.0))

    def cell(self, regime: str, arm: Arm, seed: int, trials: int) -> Cell | None:
        """Trains an arm with every setting that it may choose from; None where one cannot be."""
        settings, runs = arm.trials(trials), list[Run]()
        for setting in settings:
            leader = score(runs[choose(runs)].validation) if runs else -math.inf
            run = self._allowed(regime, arm, seed, setting, leader)
            if run is None:
                return None
            runs.append(run)
        best = choose(runs)
        return Cell(regime, arm.name, seed, runs[best], settings[best])

    def with_front(self, cell: Cell, arm: Arm) -> Cell:
        """The cell with its arm trained at every value of its knob that can be had."""
        front = {}
        for setting in arm.front(cell.setting.rate):
            run = self._allowed(cell.regime, arm, cell.seed, setting)
            if run is not None and run.test is not None and setting.value is not None:
                front[setting.value] = run.test
        return replace(cell, front=front)

    def _allowed(
        self, regime: str, arm: Arm, seed: int, setting: Setting, leader: float = -math.inf
    ) -> Run | None:
        """A run; None for a constraint that nothing meets on these pairs, which is said."""
        recipe = arm.at(setting)
        try:
            return self._run(regime, arm.name, seed, recipe, leader)
        except BadInput as fault:
            if recipe.relabel is None:
                raise
            self._progress.say(f"{arm.name} in the {regime} regime, seed {seed}: {fault}")
            return None

    def _run(
        self,
        regime: str,
        arm: str,
        seed: int,
        recipe: Recipe | None,
        leader: float = -math.inf,
    ) -> Run:
        """A run that is there, or a training.

        Args:
            leader: score that it must beat for its test results to be wanted.
        """
        digest = "" if recipe is None else recipe_digest(recipe)
        found = self._runs.get((regime, seed, digest))
        if found is not None and (found.test or score(found.validation) <= leader):
            return found
        lab, home = self._lab_of(seed), self._folder / f"seed-{seed}"
        if recipe is not None:
            lab.train(_ready(recipe, home, seed, regime))
        validation = lab.measure(self._validation, seed)
        test = lab.measure(self._test, seed) if score(validation) > leader else None
        rate = recipe.optimization.learning_rate if recipe else 0.0
        run = Run(regime, seed, digest, arm, rate, validation, test)
        _add(self._folder / "runs.jsonl", run)
        self._runs[run.key] = run
        return run

    def _lab_of(self, seed: int) -> Any:
        if self._lab is None or self._lab[0] != seed:
            self._lab = seed, _lab(self._folder / f"seed-{seed}", seed)
        return self._lab[1]


def _lab(home: Path, seed: int) -> Any:
    from bfpo_bench.toy_world.study.trainer import Lab

    # Without a bar: it is one more of the seed's trainings.
    lab = Lab(make_model("start", home / "start", seed), home / "scratch")
    # Trainer collects garbage after every training; what is here by now is none.
    gc.collect()
    gc.freeze()
    return lab


def _ready(recipe: Recipe, home: Path, seed: int, regime: str) -> Recipe:
    """The recipe with its sets written, and the models there that it was told to look at."""
    from bfpo_bench.training.train import train

    folder = home / regime
    if not folder.is_dir():
        write_sets(folder, REGIMES[regime], seed)
    recipe = located(recipe, folder)
    for place in recipe.relabel.models.values() if recipe.relabel else ():
        before = located(load_recipe(f"toy/{Path(place).name}", base=str(home / "start")), folder)
        train(before, Path(place), Progress(show=False), device="cpu")
    return recipe


def _add(path: Path, run: Run) -> None:
    # An interrupted session may have left a line without its end.
    cut = path.is_file() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * cut + json.dumps(asdict(run)) + "\n")


def read_runs(folder: Path) -> dict[Key, Run]:
    """The finished runs in a study's folder; a line that was cut off is no run."""
    path = folder / "runs.jsonl"
    runs: dict[Key, Run] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            content = json.loads(line)
            shares = {name: _shares(content[name]) for name in ("validation", "test")}
            # What version 0.1 called it.
            rate = content.pop("setting", None)
            run = Run(**{"rate": rate, **content, **shares})
        except (ValueError, TypeError, KeyError):
            continue
        # One without test results may have been done again with them.
        if run.key not in runs or run.test:
            runs[run.key] = run
    return runs


def _shares(content: dict[str, float] | None) -> Shares | None:
    if content is None:
        return None
    if "safe" in content:  # of before December 2026
        content["harmless"] = content.pop("safe")
        content["answered"] = 100 - content.pop("over_refusing")
    return Shares(**content)


def recipe_digest(recipe: Recipe) -> str:
    """16 hex digits that change with anything in a recipe that is no default."""
    text = json.dumps(_told(recipe), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _told(value: Any) -> Any:
    """What a recipe says beyond its defaults, so that a new setting leaves old digests alone."""
    if is_dataclass(value):
        said = {f.name: (getattr(value, f.name), f.default) for f in fields(value)}
        return {name: _told(one) for name, (one, default) in said.items() if one != default}
    if isinstance(value, tuple):
        return [_told(one) for one in value]
    if isinstance(value, dict):
        return {name: _told(one) for name, one in value.items()}
    return value
