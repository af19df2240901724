"""The study's arms, choice of settings, statistics and resumption, and its trainings in memory."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.toy_world.datasets import REGIMES, Regime, located, write_sets
from bfpo_bench.toy_world.evaluate import HeldOut, Shares
from bfpo_bench.toy_world.models import make_model
from bfpo_bench.toy_world.study import runs as module
from bfpo_bench.toy_world.study.arms import (
    ARMS,
    METHODS,
    NO_RIVALS,
    Arm,
    Setting,
)
from bfpo_bench.toy_world.study.means import difference, mean
from bfpo_bench.toy_world.study.report import QUESTIONS, markdown, write_report
from bfpo_bench.toy_world.study.runs import Cell, Run, choose, read_runs, recipe_digest, run_study
from bfpo_bench.toy_world.study.trainer import Lab, is_plain, weighted_ipo
from bfpo_bench.training.pairwise.losses import PairLogps, bfpo, ipo
from bfpo_bench.training.recipe_file import load_recipe, recipe_names
from bfpo_bench.training.recipe_parts import LoraRecipe
from bfpo_bench.training.train import train
from bfpo_bench.training.trainable import load_model


def run_with(harmless: float, helpful: float, broken: float = 0.0) -> Run:
    """By its validation prompts; what the test prompts would say is the opposite."""
    test = Shares(100 - harmless, 0.0, 100 - helpful, 0.0)
    return Run("balanced", 0, "", "dpo", 0.1, Shares(harmless, 0.0, helpful, broken), test)


# ------------------------------------------------------------------------------ choice


def test_the_best_of_harmless_and_helpful_together_is_chosen() -> None:
    assert choose([run_with(50, 90), run_with(90, 80), run_with(99, 40)]) == 1


def test_broken_text_does_not_win_by_being_harmless() -> None:
    assert choose([run_with(70, 80), run_with(100, 75, broken=30)]) == 0


def test_of_equals_the_first_is_chosen() -> None:
    assert choose([run_with(90, 80), run_with(80, 90)]) == 0


# ------------------------------------------------------------------------------ arms


def test_every_toy_recipe_is_an_arm_or_said_to_be_none() -> None:
    recipes = {name.removeprefix("toy/") for name in recipe_names() if name.startswith("toy/")}
    methods = [arm.name for arm in METHODS]
    assert sorted([*methods, *NO_RIVALS]) == sorted(recipes)
    names = [arm.name for arm in ARMS]
    assert len(set(names)) == len(names)
    assert {name for question in QUESTIONS for name in question[:2]} <= set(names)


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_every_arm_has_as_many_settings_and_the_recipes_own_is_the_first(arm: Arm) -> None:
    trials = arm.trials(4)
    assert len({recipe_digest(arm.at(setting)) for setting in trials}) == 4
    assert arm.trials(2) == trials[:2]
    assert arm.at(trials[0]) == load_recipe(arm.recipe, arm.changes)


def test_every_regime_has_what_a_share_asks_for() -> None:
    """Or the study would end there."""
    asked = 0
    for regime in REGIMES.values():
        sizes = {"helpfulness": regime.helpfulness_pairs, "safety": regime.safety_pairs}
        for arm in ARMS:
            sets = arm.at(arm.trials(1)[0]).data
            rest = sum(min(sizes[s.name], s.limit or 800) for s in sets if s.share is None)
            for share, size in ((s.share, sizes[s.name]) for s in sets if s.share is not None):
                assert share * rest <= (1 - share) * size, arm.name
                asked += 1
    assert asked == 3  # safety tuning's


def test_arms_differ_from_their_method_only_where_they_say() -> None:
    by_name = {arm.name: arm.at(arm.trials(1)[0]) for arm in ARMS}
    assert replace(by_name["dpo-buffered"], mixing="shuffled") == by_name["dpo"]
    assert replace(by_name["bfpo-no-buffer"], mixing="buffered") == by_name["bfpo"]
    assert by_name["bfpo-no-shift"].loss_parameters == {"tau": 0.25, "alpha": 0, "b1": 3}
    assert by_name["ipo-weighted"].data == by_name["ipo"].data
    shuffled = by_name["bfpo-shuffled-labels"].data
    assert [one.files for one in shuffled] == [("helpfulness.jsonl",), ("safety-shuffled.jsonl",)]
    # SACPO's knob is the second stage's alone.
    sacpo = next(arm for arm in METHODS if arm.name == "sacpo").at(Setting(1.0, 7.0))
    assert [stage.loss_parameters["beta"] for stage in sacpo.stages] == [0.25, 7.0]


def test_who_is_told_the_truth() -> None:
    told = {arm.name for arm in METHODS if arm.truth}
    assert {"morl", "mocan", "modpo", "midpo-safe", "multiplicative"} <= told
    assert not told & {"bfpo", "dpo", "safedpo", "sacpo", "pecan", "kto"}


def test_a_digest_follows_the_recipe() -> None:
    one, first = Arm("a", "toy/bfpo"), Setting(1.0)
    others = [replace(one, changes=("loss_parameters.alpha=0",)), Arm("a", "toy/dpo")]
    recipes = [one.at(first), one.at(Setting(2.0)), *(other.at(first) for other in others)]
    assert len({recipe_digest(recipe) for recipe in recipes}) == 4
    assert recipe_digest(recipes[0]) == recipe_digest(replace(one, name="b").at(first))


def test_weighted_ipo_has_bfpos_targets() -> None:
    chosen = torch.tensor([-3.0, -5.0, -1.0, -2.5])
    safe = torch.tensor([True, True, False, False])
    zeros, ones = torch.zeros(4), torch.ones(4)
    naive = PairLogps(chosen, -chosen, zeros, zeros, ones, ones, safe, safe)
    # Where safety is the same it is IPO.
    assert torch.equal(weighted_ipo(naive, tau=0.2), ipo(naive, tau=0.2))
    # Where only the winner is safe, it is what BFPO makes of a pair whose winner is more helpful
    # too: label 1.
    mixed = replace(naive, chosen_safe=torch.ones(4) > 0, rejected_safe=torch.ones(4) < 0)
    assert torch.allclose(weighted_ipo(mixed, tau=0.2), bfpo(mixed, tau=0.2))
    with pytest.raises(BadInput, match="weighted_ipo needs safety labels; take sets that have"):
        weighted_ipo(replace(mixed, chosen_safe=None))


# ------------------------------------------------------------------------------ statistics


def test_intervals_are_students() -> None:
    values = [71.0, 80.5, 77.0, 92.0, 85.5]
    low, high = stats.t.interval(0.95, 4, sum(values) / 5, stats.sem(values))
    found = mean(values)
    assert found.value == pytest.approx((low + high) / 2)
    assert found.half == pytest.approx((high - low) / 2, rel=1e-3)


def test_differences_are_paired_by_seed() -> None:
    one = {seed: Shares(50 + 10 * seed, 0, 0, 0) for seed in range(4)}
    other = {seed: Shares(45 + 10 * seed, 0, 0, 0) for seed in range(1, 6)}
    found = difference(one, other)
    assert found is not None
    assert (found["harmless"].value, found["harmless"].half, found["harmless"].n) == (5, 0, 3)
    assert found["harmless"].clear
    assert difference(one, {}) is None


# ------------------------------------------------------------------------------ trainings


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A start model that has learnt nothing, and few pairs."""
    folder = tmp_path_factory.mktemp("study")
    make_model("start", folder / "start", steps=0)
    write_sets(folder / "data", Regime(24, 24, harmful_prompts=0.1, both_unsafe=0.5), seed=0)
    return folder


@pytest.mark.parametrize("name", ["modpo", "mocan", "p-sacpo"])
def test_a_training_in_memory_is_that_of_the_trainer(home: Path, name: str) -> None:
    changes = ["optimization.max_steps=2", "optimization.learning_rate=0.01"]
    recipe = located(load_recipe(f"toy/{name}", changes, base=str(home / "start")), home / "data")
    assert is_plain(recipe)
    output = home / name
    train(recipe, output, device="cpu")
    expected = dict(load_model(find_model(str(output)), "fp32").named_parameters())
    lab = Lab(home / "start", home / "scratch")
    # What one method has left behind changes nothing for the next.
    for other in ("dpo", name):
        lab.train(located(load_recipe(f"toy/{other}", changes), home / "data"))
    for key, weight in lab.weights().items():
        torch.testing.assert_close(weight, expected[key], rtol=0, atol=1e-6)


def test_what_is_more_than_pairs_and_a_loss_goes_the_ordinary_way() -> None:
    plain = load_recipe("toy/sacpo")
    assert is_plain(plain)
    assert plain.first is not None
    assert not is_plain(replace(plain, first=replace(plain.first, lora=LoraRecipe())))
    assert not any(is_plain(load_recipe(f"toy/{name}")) for name in ("morl", "sft"))


# ------------------------------------------------------------------------------ the whole


class CountingLab:
    """Trains nothing; what it measures follows from the recipe it was last given."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self._rate = 0.0

    def train(self, recipe: Any) -> None:
        if recipe.method == "mocan":
            raise BadInput("no multiplier meets the constraint.")
        self.trained.append(recipe.method)
        self._rate = recipe.optimization.learning_rate

    def measure(self, requests: HeldOut, seed: int) -> Shares:
        return Shares(50 + 1000 * self._rate, 95, 80 + seed % 7, 1)


SOME = ["bfpo", "dpo", "sacpo", "bfpo-no-shift"]


def test_a_study_chooses_runs_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def study(trials: int = 2, methods: list[str] | None = SOME) -> tuple[list[str], list[Cell]]:
        lab = CountingLab()
        monkeypatch.setattr(module, "_lab", lambda *_: lab)
        cells = run_study(tmp_path, 2, trials, ["conflicting"], methods, Progress(show=False))
        return lab.trained, cells

    trained, cells = study()
    # Two rates of each with either seed, and what else BFPO's and SACPO's knobs can be turned to;
    # but BFPO with α = 0 is bfpo-no-shift.
    assert len(trained) == 2 * (2 * 4 + 3 + 2 - 1)
    best = {cell.arm: cell for cell in cells if cell.seed == 1}
    assert best["dpo"].setting == Setting(2.0)  # less harm there, by the lab
    assert [*best["bfpo"].front] == [0.0, 0.25, 0.5, 0.75]
    assert best["dpo"].front == {}

    # Cut off within the last line: only that run is done again.
    path = tmp_path / "runs.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert len(study()[0]) == 1
    assert study() == ([], cells)
    assert set(read_runs(tmp_path)) >= {cell.best.key for cell in cells}

    # More settings and more methods are added to what is there.
    trained, _ = study(3, [*SOME, "ipo"])
    assert trained.count("ipo") == 2 * 3
    assert trained.count("dpo") == 2
    # What nothing can meet is left out.
    assert {cell.arm for cell in study(2, ["dpo", "mocan"])[1]} == {"sft", "dpo"}

    text = write_report(cells, tmp_path)
    assert text == markdown(cells) == (tmp_path / "study.md").read_text(encoding="utf-8")
    assert "| bfpo, α = 0.75 |" in text
    for name in SOME:
        assert f"| {name} | 2 × 0.005 |" in text
    for picture in ("study", "fronts"):
        assert (tmp_path / f"{picture}.png").read_bytes()[:4] == b"\x89PNG"
        assert "<svg" in (tmp_path / f"{picture}.svg").read_text(encoding="utf-8")


def test_runs_of_before_are_read(tmp_path: Path) -> None:
    before = {"safe": 87.5, "helpful": 90.0, "over_refusing": 3.5, "broken": 1.0}
    run = asdict(run_with(50, 90)) | {"validation": before, "test": before, "setting": 0.0025}
    del run["rate"]
    (tmp_path / "runs.jsonl").write_text(json.dumps(run) + "\n", encoding="utf-8")
    [found] = read_runs(tmp_path).values()
    assert found.test == Shares(harmless=87.5, answered=96.5, helpful=90.0, broken=1.0)
    assert found.rate == 0.0025


@pytest.mark.parametrize(
    ("regimes", "methods", "said"),
    [
        (["conflictin"], None, "unknown regime 'conflictin'; did you mean 'conflicting'"),
        (None, ["bpfo"], "unknown method 'bpfo'; did you mean 'bfpo'"),
    ],
)
def test_unknown_names_are_told(
    tmp_path: Path, regimes: list[str] | None, methods: list[str] | None, said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        run_study(tmp_path, 2, 2, regimes, methods, Progress(show=False))
