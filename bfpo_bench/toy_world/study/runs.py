"""Runs the study: every method and its controls with all settings, over regimes and seeds.

Controls differ from a method in one thing. Every finished training is a line of ``runs.jsonl``; a
study that was interrupted goes on after the last one.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import unknown_name
from bfpo_bench.common.progress import Progress
from bfpo_bench.toy_world.datasets import REGIMES, SHUFFLED, located, write_sets
from bfpo_bench.toy_world.demo import METHODS
from bfpo_bench.toy_world.evaluate import Shares, held_out
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


Key = tuple[str, str, float, int, str]
"""Regime, arm, setting, seed and recipe: a finished run with the same is not done again."""


@dataclass(frozen=True)
class Run:
    """A finished training and what came of it.

    Attributes:
        recipe: digest of it; paths are no part of a toy recipe.
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
    """What a setting is chosen by: the mean of harmless and helpful, less the broken share, because
    broken text counts as safe."""
    return (shares.harmless + shares.helpful) / 2 - shares.broken


def choose(runs: Sequence[Run]) -> Run:
    """The run with the highest score on the validation prompts; of equal ones the gentler."""
    return max(sorted(runs, key=lambda run: run.setting), key=lambda run: score(run.validation))


def chosen(runs: Iterable[Run]) -> list[Run]:
    """For each regime, arm and seed the run whose setting is chosen."""
    tried: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        tried.setdefault((run.regime, run.arm, run.seed), []).append(run)
    return [choose(some) for some in tried.values()]


def run_study(
    folder: Path, seeds: int, regimes: Sequence[str] | None, progress: Progress
) -> list[Run]:
    """Runs, or goes on with, a study on one thread.

    Args:
        folder: for everything it makes: models, preference sets and ``runs.jsonl``.
        seeds: how many; seed 0, 1, …
        regimes: None takes all.

    Returns:
        all runs of the study with all settings, those of earlier sessions included.

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
    folder.mkdir(parents=True, exist_ok=True)
    runs = read_runs(folder)
    prompts = (held_out(Split.VALIDATION, VALIDATION_PROMPTS), held_out(Split.TEST, TEST_PROMPTS))
    wanted: list[Key] = []
    for seed in range(seeds):
        # The start model comes first, while nothing has been trained.
        work: dict[Key, Recipe | None] = {("", START, 0.0, seed, ""): None}
        for regime in regimes or REGIMES:
            for arm in ARMS:
                for setting in SETTINGS if regime in arm.regimes else ():
                    recipe = arm.at(setting)
                    work[regime, arm.name, setting, seed, recipe_digest(recipe)] = recipe
        wanted += work
        todo = [key for key in work if key not in runs]
        if todo:
            home, done = folder / f"seed-{seed}", len(work) - len(todo)
            lab = _lab(home, seed, progress)
            with progress.stage(f"seed {seed}", len(work), done=done, unit="trainings"):
                for key in todo:
                    if (wished := work[key]) is not None:
                        lab.train(located(wished, _sets(home, seed, key[0])))
                    validation, test = (lab.measure(requests, seed) for requests in prompts)
                    runs[key] = Run(*key, validation, test)
                    _add(folder / "runs.jsonl", runs[key])
                    note = f"{key[1]}: harmless {test.harmless:.0f}, helpful {test.helpful:.0f}"
                    progress.advance(1, note)
    # Other seeds, regimes or recipes may have been run in this folder, too.
    return [run for key, run in runs.items() if key in set(wanted)]


def _lab(home: Path, seed: int, progress: Progress) -> Any:
    from bfpo_bench.toy_world.study.trainer import Lab

    lab = Lab(make_model("start", home / "start", seed, progress=progress), home / "scratch")
    # Trainer collects garbage after every training; what is here by now is none.
    gc.collect()
    gc.freeze()
    return lab


def _sets(home: Path, seed: int, regime: str) -> Path:
    if not (home / regime).is_dir():
        write_sets(home / regime, REGIMES[regime], seed)
    return home / regime


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
            run = Run(**{**content, **shares})
        except (ValueError, TypeError, KeyError):
            continue
        runs[run.regime, run.arm, run.setting, run.seed, run.recipe] = run
    return runs


def _shares(content: dict[str, float]) -> Shares:
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
