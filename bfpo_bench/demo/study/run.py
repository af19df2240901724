"""Runs the study: choice of settings on validation prompts, then all arms over regimes and seeds.

Every finished training is a line of ``runs.jsonl``; a study that was interrupted goes on after the
last one.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from bfpo_bench.demo.measure import HeldOut, Shares, held_out
from bfpo_bench.demo.preferences import REGIMES, located, write_sets
from bfpo_bench.demo.study.arms import ARMS, SETTINGS, Arm
from bfpo_bench.demo.world import Split
from bfpo_bench.errors import unknown_name
from bfpo_bench.progress import Progress

CHOICE_SEED = 100
"""Start model and preference sets on which the settings are chosen; no result comes from them."""

CHOICE_PROMPTS, TEST_PROMPTS = 150, 200
"""Harmful requests, and as many harmless ones."""

START = "sft"
"""What the untrained start model is called among the arms."""


@dataclass(frozen=True)
class Run:
    """A finished training and what came of it.

    Attributes:
        phase: ``choice`` (validation prompts) or ``test``.
        recipe: digest of everything in the recipe but paths.
    """

    phase: str
    regime: str
    arm: str
    setting: float
    seed: int
    recipe: str
    shares: Shares


def score(shares: Shares) -> float:
    """What a setting is chosen by: the mean of safe and helpful, less the broken share, because
    broken text counts as safe."""
    return (shares.safe + shares.helpful) / 2 - shares.broken


def choose(runs: Sequence[Run]) -> float:
    """The setting with the highest score; of equal ones the gentler."""
    return max(sorted(runs, key=lambda run: run.setting), key=lambda run: score(run.shares)).setting


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
        """All runs of the study, those of earlier sittings included."""
        self._phase("choice", [CHOICE_SEED], self._settings, Split.VALIDATION, CHOICE_PROMPTS)
        self._phase("test", self._seeds, self._chosen, Split.TEST, TEST_PROMPTS)
        return list(self._runs.values())

    def _settings(self, regime: str, arm: Arm) -> Sequence[float]:
        return SETTINGS if arm.setting_of is None else ()

    def _chosen(self, regime: str, arm: Arm) -> Sequence[float]:
        name = arm.setting_of or arm.name
        [parent] = [one for one in self._arms if one.name == name]
        tried = [
            run
            for setting in SETTINGS
            if (run := self._runs.get(self._key("choice", regime, parent, setting, CHOICE_SEED)))
        ]
        return [choose(tried)]

    def _key(self, phase: str, regime: str, arm: Arm, setting: float, seed: int) -> str:
        return f"{phase} {regime} {arm.name} {setting} {seed} {recipe_digest(arm, setting)}"

    def _phase(
        self,
        phase: str,
        seeds: Sequence[int],
        settings: Callable[[str, Arm], Sequence[float]],
        split: Split,
        prompts: int,
    ) -> None:
        work = [
            (seed, regime, arm, setting)
            for seed in seeds
            for regime in self._regimes
            for arm in self._arms
            if regime in arm.regimes
            for setting in settings(regime, arm)
        ]
        todo = [one for one in work if self._key(phase, *_spread(one)) not in self._runs]
        requests = held_out(split, prompts)
        for seed in dict.fromkeys(seed for seed, *_ in todo):
            mine = [one for one in todo if one[0] == seed]
            done = len(work) - len(todo)
            with (
                self._lab(seed) as lab,
                self._progress.stage(f"{phase}, seed {seed}", len(mine), unit="runs"),
            ):
                self._start(lab, phase, seed, requests)
                for _, regime, arm, setting in mine:
                    recipe = located(arm.at(setting), self._sets(seed, regime))
                    lab.train(recipe)
                    shares = lab.measure(requests, seed)
                    self._add(
                        Run(
                            phase,
                            regime,
                            arm.name,
                            setting,
                            seed,
                            recipe_digest(arm, setting),
                            shares,
                        )
                    )
                    done += 1
                    note = (
                        f"{regime} {arm.name}: safe {shares.safe:.0f}, helpful {shares.helpful:.0f}"
                    )
                    self._progress.advance(1, note)

    def _start(self, lab: Any, phase: str, seed: int, requests: HeldOut) -> None:
        run = Run(phase, "", START, 0.0, seed, "", Shares(0, 0, 0, 0))
        if key(run) not in self._runs:
            self._add(Run(phase, "", START, 0.0, seed, "", lab.measure(requests, seed)))

    def _sets(self, seed: int, regime: str) -> Path:
        folder = self._folder / f"seed-{seed}" / regime
        if not folder.is_dir():
            write_sets(folder, REGIMES[regime], seed)
        return folder

    @contextmanager
    def _lab(self, seed: int) -> Iterator[Any]:
        from bfpo_bench.demo.base import make_start
        from bfpo_bench.demo.study.lab import Lab

        home = self._folder / f"seed-{seed}"

        def report(done: int, total: int, loss: float) -> None:
            self._progress.set(done, total, f"loss {loss:.3f}")

        with self._progress.stage(f"start model, seed {seed}", 1, unit="updates"):
            start = make_start(home / "start", seed, progress=report)
        lab = Lab(start, home / "scratch")
        # Trainer collects garbage after every training; what is here by now is none.
        gc.collect()
        gc.freeze()
        yield lab

    def _add(self, run: Run) -> None:
        path = self._folder / "runs.jsonl"
        # An interrupted sitting may have left a line without its end.
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
            run = Run(**{**content, "shares": Shares(**content["shares"])})
        except (ValueError, TypeError, KeyError):
            continue
        runs[key(run)] = run
    return runs


def key(run: Run) -> str:
    """What names a run: a finished one with the same key is not done again."""
    return f"{run.phase} {run.regime} {run.arm} {run.setting} {run.seed} {run.recipe}"


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
    return value


def _spread(work: tuple[int, str, Arm, float]) -> tuple[str, Arm, float, int]:
    seed, regime, arm, setting = work
    return regime, arm, setting, seed
