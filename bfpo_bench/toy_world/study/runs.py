"""Runs the study: every method and its controls with all settings, over regimes and seeds.

Controls differ from a method in one thing. Every finished training is a line of ``runs.jsonl``; a
study that was interrupted goes on after the last one.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import unknown_name
from bfpo_bench.common.progress import Progress
from bfpo_bench.toy_world.datasets import REGIMES, SHUFFLED, located, write_sets
from bfpo_bench.toy_world.demo import METHODS
from bfpo_bench.toy_world.evaluate import HeldOut, Shares, held_out
from bfpo_bench.toy_world.ground_truth import Split
from bfpo_bench.toy_world.models import make_model
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_file import load_recipe

VALIDATION_PROMPTS, TEST_PROMPTS = 150, 200
"""Harmful requests, and as many harmless ones."""

START = "sft"
"""What the start model is called among the arms."""


@dataclass(frozen=True)
class Arm:
    """One thing to train.

    Attributes:
        name: in tables.
        recipe: a toy recipe.
        changes: of it, as ``key=value``.
        meaning: what it is, of a control.
        regimes: where it is run.
    """

    name: str
    recipe: str
    changes: tuple[str, ...] = ()
    meaning: str = ""
    regimes: tuple[str, ...] = tuple(REGIMES)

    def at(self, setting: float) -> Recipe:
        """Its recipe with a setting."""
        rate = f"optimization.learning_rate={setting}"
        return load_recipe(self.recipe, [*self.changes, rate])


SETTINGS = (2.5e-3, 5e-3)
"""Highest learning rates that each arm may choose from. How far a training goes is decided by the
learning rate far more than by τ or β, for AdamW divides the gradient's size away."""

_WEIGHTED = ("mixing=buffered", "loss=bfpo_bench.toy_world.study.trainer:weighted_ipo")
_CONFLICT = ("conflicting",)

METHOD_ARMS = tuple(
    # On-policy training takes a minute where the others take seconds, and its prompts hardly differ
    # between the regimes.
    Arm(name, f"toy/{name}", regimes=_CONFLICT if name == "morl" else tuple(REGIMES))
    for name in METHODS
)

CONTROLS = (
    Arm("dpo-buffered", "toy/dpo", ("mixing=buffered",), "DPO with equal batches of both sets"),
    Arm("ipo-buffered", "toy/ipo", ("mixing=buffered",), "IPO with equal batches of both sets"),
    Arm(
        "ipo-weighted",
        "toy/ipo",
        _WEIGHTED,
        "buffered IPO with targets as large as BFPO's, on the naive pairs",
    ),
    Arm("bfpo-no-buffer", "toy/bfpo", ("mixing=shuffled",), "BFPO without equal batches"),
    Arm("bfpo-no-shift", "toy/bfpo", ("loss_parameters.alpha=0",), "BFPO with α = 0"),
    Arm(
        "bfpo-alpha-0.25",
        "toy/bfpo",
        ("loss_parameters.alpha=0.25",),
        "BFPO with half the shift",
        _CONFLICT,
    ),
    Arm(
        "bfpo-alpha-0.75",
        "toy/bfpo",
        ("loss_parameters.alpha=0.75",),
        "BFPO with half as much shift again",
        _CONFLICT,
    ),
    Arm(
        "bfpo-shuffled-labels",
        "toy/bfpo",
        (f"data.1.files=[{SHUFFLED}.jsonl]",),
        "BFPO whose safety labels belong to other pairs of the set",
        _CONFLICT,
    ),
)

ARMS = METHOD_ARMS + CONTROLS


@dataclass(frozen=True)
class Run:
    """A finished training and what came of it.

    Attributes:
        recipe: digest of everything in the recipe but paths.
        validation: what its setting is chosen by.
        test: what is reported.
    """

    regime: str
    arm: str
    setting: float
    seed: int
    recipe: str
    validation: Shares
    test: Shares


def score(shares: Shares) -> float:
    """What a setting is chosen by: the mean of safe and helpful, less the broken share, because
    broken text counts as safe."""
    return (shares.safe + shares.helpful) / 2 - shares.broken


def choose(runs: Sequence[Run]) -> Run:
    """The run with the highest score on the validation prompts; of equal ones the gentler."""
    return max(sorted(runs, key=lambda run: run.setting), key=lambda run: score(run.validation))


def chosen(runs: Iterable[Run]) -> list[Run]:
    """For each regime, arm and seed the run whose setting is chosen."""
    tried: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        tried.setdefault((run.regime, run.arm, run.seed), []).append(run)
    return [choose(some) for some in tried.values()]


@dataclass(frozen=True)
class _Work:
    """A training to do."""

    regime: str
    arm: Arm
    setting: float
    recipe: str

    def key(self, seed: int) -> str:
        """That of the run that it becomes."""
        return f"{self.regime} {self.arm.name} {self.setting} {seed} {self.recipe}"


def run_study(
    folder: Path, seeds: int, regimes: Sequence[str] | None, progress: Progress
) -> list[Run]:
    """Runs, or goes on with, a study on one thread.

    Args:
        folder: for everything it makes.
        seeds: how many.
        regimes: None takes all.

    Raises:
        BadInput: there is no such regime.
    """
    import torch

    for name in regimes or ():
        if name not in REGIMES:
            raise unknown_name("regime", name, REGIMES)
    # accelerate looks here when its state is first made.
    os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    torch.set_num_threads(1)  # a second one gains such small matrices nothing
    return Study(folder, seeds, regimes or tuple(REGIMES), progress).run()


class Study:
    """The study in a folder.

    Args:
        folder: for models, preference sets and ``runs.jsonl``.
        seeds: how many; seed 0, 1, …
        regimes: names of :data:`REGIMES`.
        arms: what to compare.
    """

    def __init__(
        self,
        folder: Path,
        seeds: int,
        regimes: Sequence[str],
        progress: Progress,
        arms: Sequence[Arm] = ARMS,
    ) -> None:
        self._folder = folder
        self._seeds = range(seeds)
        self._regimes = regimes
        self._arms = arms
        self._progress = progress
        folder.mkdir(parents=True, exist_ok=True)
        self._runs = read_runs(folder)

    def run(self) -> list[Run]:
        """All runs of the study with all settings, those of earlier sessions included."""
        keys: set[str] = set()
        prompts = (
            held_out(Split.VALIDATION, VALIDATION_PROMPTS),
            held_out(Split.TEST, TEST_PROMPTS),
        )
        for seed in self._seeds:
            keys |= self._seed(seed, prompts)
        # Other seeds, regimes or recipes may have been run in this folder, too.
        return [run for name, run in self._runs.items() if name in keys]

    def _seed(self, seed: int, prompts: tuple[HeldOut, HeldOut]) -> set[str]:
        """Does what is left to do of a seed; the keys of all its runs."""
        work = [
            _Work(regime, arm, setting, recipe_digest(arm, setting))
            for regime in self._regimes
            for arm in self._arms
            if regime in arm.regimes
            for setting in SETTINGS
        ]
        todo = [one for one in work if one.key(seed) not in self._runs]
        start = _Work("", Arm(START, "toy/sft"), 0.0, "")
        keys = {one.key(seed) for one in (start, *work)}
        if keys <= self._runs.keys():
            return keys
        stage = self._progress.stage(
            f"seed {seed}", len(work), done=len(work) - len(todo), unit="trainings"
        )
        with self._lab(seed) as lab, stage:
            if start.key(seed) not in self._runs:
                self._measure(lab, start, seed, prompts)
            for one in todo:
                folder = self._sets(seed, one.regime)
                lab.train(located(one.arm.at(one.setting), folder))
                shares = self._measure(lab, one, seed, prompts).test
                note = f"{one.arm.name}: safe {shares.safe:.0f}, helpful {shares.helpful:.0f}"
                self._progress.advance(1, note)
        return keys

    def _measure(self, lab: Any, work: _Work, seed: int, prompts: tuple[HeldOut, HeldOut]) -> Run:
        shares = [lab.measure(requests, seed) for requests in prompts]
        run = Run(work.regime, work.arm.name, work.setting, seed, work.recipe, *shares)
        self._add(run)
        return run

    def _sets(self, seed: int, regime: str) -> Path:
        folder = self._folder / f"seed-{seed}" / regime
        if not folder.is_dir():
            write_sets(folder, REGIMES[regime], seed)
        return folder

    @contextmanager
    def _lab(self, seed: int) -> Iterator[Any]:
        from bfpo_bench.toy_world.study.trainer import Lab

        home = self._folder / f"seed-{seed}"

        start = make_model("start", home / "start", seed, progress=self._progress)
        lab = Lab(start, home / "scratch")
        # Trainer collects garbage after every training; what is here by now is none.
        gc.collect()
        gc.freeze()
        yield lab

    def _add(self, run: Run) -> None:
        path = self._folder / "runs.jsonl"
        # An interrupted session may have left a line without its end.
        cut = path.is_file() and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * cut + json.dumps(asdict(run)) + "\n")
        self._runs[key(run)] = run


def read_runs(folder: Path) -> dict[str, Run]:
    """The finished runs in a study's folder; a line that was cut off is no run."""
    path = folder / "runs.jsonl"
    runs: dict[str, Run] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            content = json.loads(line)
            shares = {name: Shares(**content[name]) for name in ("validation", "test")}
            run = Run(**{**content, **shares})
        except (ValueError, TypeError, KeyError):
            continue
        runs[key(run)] = run
    return runs


def key(run: Run) -> str:
    """What names a run: a finished one with the same key is not done again."""
    return f"{run.regime} {run.arm} {run.setting} {run.seed} {run.recipe}"


def recipe_digest(arm: Arm, setting: float) -> str:
    """16 hex digits that change with anything in an arm's recipe that is no default."""
    text = json.dumps(_told(arm.at(setting)), sort_keys=True)
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
