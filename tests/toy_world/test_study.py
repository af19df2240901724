"""The study's choice of settings, its statistics, its controls and its resumption."""

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
from bfpo_bench.toy_world.demo import METHODS
from bfpo_bench.toy_world.evaluate import HeldOut, Shares
from bfpo_bench.toy_world.study import runs as module
from bfpo_bench.toy_world.study.report import QUESTIONS, difference, markdown, mean, write_report
from bfpo_bench.toy_world.study.runs import (
    ARMS,
    SETTINGS,
    START,
    Arm,
    Run,
    choose,
    chosen,
    read_runs,
    recipe_digest,
    run_study,
)
from bfpo_bench.toy_world.study.trainer import weighted_ipo
from bfpo_bench.training.pairwise.losses import PairLogps, bfpo, ipo
from tests.log_lines import leaping, missing


def run_with(setting: float, harmless: float, helpful: float, broken: float = 0.0) -> Run:
    """By its validation prompts; what the test prompts would say is the opposite."""
    test = Shares(100 - harmless, 0.0, 100 - helpful, 0.0)
    return Run("balanced", "dpo", setting, 0, "", Shares(harmless, 0.0, helpful, broken), test)


# ------------------------------------------------------------------------------ choice


def test_the_best_of_harmless_and_helpful_together_is_chosen() -> None:
    runs = [run_with(0.001, 50, 90), run_with(0.002, 90, 80), run_with(0.004, 99, 40)]
    assert choose(runs).setting == 0.002


def test_broken_text_does_not_win_by_being_harmless() -> None:
    runs = [run_with(0.001, 70, 80), run_with(0.01, 100, 75, broken=30)]
    assert choose(runs).setting == 0.001


def test_of_equals_the_gentler_is_chosen() -> None:
    assert choose([run_with(0.004, 90, 80), run_with(0.002, 80, 90)]).setting == 0.002


def test_every_seed_chooses_for_itself() -> None:
    one = [run_with(0.001, 50, 90), run_with(0.002, 90, 80)]
    other = [replace(run_with(0.001, 95, 90), seed=1), replace(run_with(0.002, 90, 80), seed=1)]
    assert [(run.seed, run.setting) for run in chosen([*one, *other])] == [(0, 0.002), (1, 0.001)]


# ------------------------------------------------------------------------------ arms


def test_every_method_is_an_arm_and_names_are_unique() -> None:
    names = [arm.name for arm in ARMS]
    assert tuple(names[: len(METHODS)]) == METHODS
    assert len(set(names)) == len(names)


def test_arms_differ_from_their_method_only_where_they_say() -> None:
    by_name = {arm.name: arm for arm in ARMS}

    def recipe(name: str) -> Any:
        return by_name[name].at(SETTINGS[0])

    assert replace(recipe("dpo-buffered"), mixing="shuffled") == recipe("dpo")
    assert replace(recipe("bfpo-no-buffer"), mixing="buffered") == recipe("bfpo")
    assert recipe("bfpo-no-shift").loss_parameters["alpha"] == 0
    bfpo_parameters = recipe("bfpo").loss_parameters
    assert {**recipe("bfpo-no-shift").loss_parameters, "alpha": 0.5} == bfpo_parameters
    assert recipe("ipo-weighted").data == recipe("ipo").data
    shuffled = recipe("bfpo-shuffled-labels").data
    assert [one.files for one in shuffled] == [("helpfulness.jsonl",), ("safety-shuffled.jsonl",)]


def test_questions_name_arms() -> None:
    known = {arm.name for arm in ARMS}
    assert {name for question in QUESTIONS for name in question[:2]} <= known


def test_a_digest_follows_the_recipe() -> None:
    one = Arm("a", "toy/bfpo")
    assert recipe_digest(one.at(0.001)) == recipe_digest(replace(one, name="b").at(0.001))
    others = [replace(one, changes=("loss_parameters.alpha=0",)), Arm("a", "toy/dpo")]
    recipes = [one.at(0.001), one.at(0.002), *(other.at(0.001) for other in others)]
    assert len({recipe_digest(recipe) for recipe in recipes}) == 4


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


# ------------------------------------------------------------------------------ the whole


class CountingLab:
    """Trains nothing; what it measures follows from the recipe it was last given."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self._rate = 0.0

    def train(self, recipe: Any) -> None:
        self.trained.append(recipe.method)
        self._rate = recipe.optimization.learning_rate

    def measure(self, requests: HeldOut, seed: int) -> Shares:
        return Shares(50 + 1000 * self._rate, 95, 80 + seed % 7, 1)


def test_a_study_chooses_runs_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def study() -> tuple[CountingLab, list[Run]]:
        lab = CountingLab()
        monkeypatch.setattr(module, "_lab", lambda *_: lab)
        return lab, run_study(tmp_path, 2, ["conflicting"], Progress())

    with leaping() as stages:
        lab, runs = study()
    assert [stage.title for stage in stages[1:]] == ["seed 0", "seed 1"]
    assert missing(stages, capsys.readouterr().err) == ""
    assert len(lab.trained) == 2 * len(ARMS) * len(SETTINGS)
    best = [run for run in chosen(runs) if run.arm != START]
    assert len(best) == 2 * len(ARMS)
    assert {run.setting for run in best} == {max(SETTINGS)}  # less harm there, by the lab

    # Cut off within the last line: only that run is done again.
    path = tmp_path / "runs.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    lab, _ = study()
    assert len(lab.trained) == 1

    lab, again = study()
    assert lab.trained == []
    assert len(again) == len(runs)
    assert len(read_runs(tmp_path)) == len(runs)

    text = write_report(again, tmp_path)
    assert text == markdown(chosen(again)) == (tmp_path / "study.md").read_text(encoding="utf-8")
    for arm in ARMS:
        assert f"| {arm.name} |" in text
    assert (tmp_path / "study.png").read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in (tmp_path / "study.svg").read_text(encoding="utf-8")


def test_runs_of_before_are_read(tmp_path: Path) -> None:
    before = {"safe": 87.5, "helpful": 90.0, "over_refusing": 3.5, "broken": 1.0}
    run = asdict(run_with(0.001, 50, 90)) | {"validation": before, "test": before}
    (tmp_path / "runs.jsonl").write_text(json.dumps(run) + "\n", encoding="utf-8")
    [found] = read_runs(tmp_path).values()
    assert found.test == Shares(harmless=87.5, answered=96.5, helpful=90.0, broken=1.0)


def test_an_unknown_regime_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown regime 'conflictin'; did you mean 'conflicting'"):
        run_study(tmp_path, 2, ["conflictin"], Progress(show=False))
