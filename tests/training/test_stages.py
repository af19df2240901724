"""Recipes of two stages: the second starts from the first one's model; either is gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.models.fingerprint import weight_fingerprint
from bfpo_bench.training.dry_run import dry_run
from bfpo_bench.training.pairwise.trainer import PreferenceTrainer
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.train import train
from tests.training.conftest import Mine, losses

CHANGES = (
    *("layers=[mlp.down_proj]", "tokens={max_length: 512, max_prompt: 256}", "save_steps=1"),
    "first={method: before, loss_parameters: {beta: 0.2}, "
    "data: [{name: helpful, pairs: helpful, files: [pairs.jsonl]}]}",
)


@pytest.fixture
def two(mine: Mine) -> Recipe:
    """A recipe of two stages over twelve pairs."""
    return mine("preference", *CHANGES)


def fingerprint(folder: Path) -> str:
    return weight_fingerprint(find_model(str(folder)).weights)


def same_weights(one: Path, other: Path) -> bool:
    here, there = (load_file(folder / "model.safetensors") for folder in (one, other))
    return here.keys() == there.keys() and all(torch.equal(v, there[k]) for k, v in here.items())


def test_what_the_first_stage_shares(mine: Mine, tiny_llama: Path) -> None:
    recipe = mine("preference", *CHANGES, "seed=7", "first.optimization.learning_rate=2e-3")
    assert recipe.first is not None
    first = recipe.first
    assert (first.method, first.loss_parameters, first.data[0].pairs) == (
        *("before", {"beta": 0.2}, "helpful"),
    )
    assert (recipe.loss_parameters, recipe.data[0].pairs) == ({}, "bfpo")
    assert first.base == recipe.base == str(tiny_llama)
    assert first.layers == recipe.layers
    assert first.seed == recipe.seed == 7
    assert (first.optimization.learning_rate, recipe.optimization.learning_rate) == (2e-3, 1e-3)
    assert first.optimization.pairs_per_update == 4


def test_two_stages_are_two_trainings_wherever_they_are_cut_off(
    two: Recipe, mine: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = ("data.0={name: helpful, pairs: helpful, files: [pairs.jsonl]}", "method=before")
    by_hand = mine(
        *("preference", *CHANGES, "first=null", *alone, "loss_parameters={beta: 0.2}"),
    )
    train(by_hand, Path("a"), device="cpu")
    train(mine("preference", *CHANGES, "first=null", base="a"), Path("b"), device="cpu")

    step = PreferenceTrainer.training_step
    seen: list[str] = []

    def killed(self: Any, *arguments: Any, **more: Any) -> Any:
        seen.append(self.args.output_dir)
        if len(seen) in (2, 5):  # the second update of either stage
            raise KeyboardInterrupt
        return step(self, *arguments, **more)

    monkeypatch.setattr(PreferenceTrainer, "training_step", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(two, Path("out"), device="cpu")
    record = train(two, Path("out"), device="cpu")
    assert seen == ["out/first"] * 4 + ["out"] * 4
    assert same_weights(Path("out/first"), Path("a"))
    assert same_weights(Path("out"), Path("b"))
    assert not same_weights(Path("out"), Path("out/first"))
    # The second stage's reference is the first one's model.
    assert losses(record)[0] == pytest.approx(0.693147, abs=1e-5)
    assert train(two, Path("out"), device="cpu")["curves"] == record["curves"]
    assert len(seen) == 8

    shutil.rmtree("out/first")
    with pytest.raises(BadInput, match=r"of which a stage, out/first, is gone"):
        train(two, Path("out"), device="cpu")


def test_a_mixture_of_the_stages(mine: Mine) -> None:
    """The first of them by KTO, as SACPO's authors have it too."""
    changes = (*CHANGES, "first.loss=kto", "first.loss_parameters={beta: 0.1}")
    recipe = mine("preference", *changes, "merge=0.25")
    record = train(recipe, Path("out"), device="cpu")
    assert losses(json.loads(Path("out/first/training.json").read_text()))[0] == pytest.approx(0.5)
    first, second, found = (
        load_file(Path("out", stage, "model.safetensors")) for stage in ("first", "second", ".")
    )
    for name, weights in found.items():
        wanted = 0.75 * first[name].double() + 0.25 * second[name].double()
        assert torch.equal(weights, wanted.float())
    assert record["merge"]["q"] == record["recipe"]["merge"] == 0.25
    assert record["merge"]["weights"] == fingerprint(Path("out"))
    assert not any(Path("out").glob("recipe.json"))
    before = Path("out/training.json").read_text()
    assert train(recipe, Path("out"), device="cpu")["merge"] == record["merge"]
    assert Path("out/training.json").read_text() == before
    # A kill after both stages: the mixture is made anew.
    Path("out/config.json").unlink()
    Path("out/recipe.json").write_text('{"recipe": {"merge": 0.25}}')
    with pytest.raises(BadInput, match="an unfinished training with another merge; go on with"):
        train(mine("preference", *changes), Path("out"), device="cpu")
    assert train(recipe, Path("out"), device="cpu")["merge"] == record["merge"]
    assert Path("out/config.json").is_file()
    with pytest.raises(BadInput, match="already, with another merge; mix its stages with bfpo"):
        train(mine("preference", *changes, "merge=0.5"), Path("out"), device="cpu")
    for bad, said in (("merge=2", "merge"), ("first=null", "'merge' mixes with a 'first' stage")):
        with pytest.raises(BadInput, match=said):
            mine("preference", *changes, "merge=0.5", bad)


def test_what_would_stop_the_second_stage_is_said_before_the_first(mine: Mine, two: Recipe) -> None:
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="full is not empty"):
        train(two, Path("full"), device="cpu")
    lacking = mine("preference", *CHANGES, "loss=modpo", "first.loss=dpo")
    with pytest.raises(BadInput, match="the modpo loss needs a margin for every pair"):
        train(lacking, Path("out"), device="cpu")
    assert not Path("out").exists()
    with pytest.raises(BadInput, match="value of 'pairs' in set 'helpful'"):
        mine("preference", *CHANGES, "first.data.0.pairs=helpfull")


def test_the_dry_run_tells_of_both(two: Recipe) -> None:
    text = dry_run(two, Path("out"), Progress(show=False))
    assert text.startswith("First stage:\n")
    first, second = text.split("Second stage, from the model in out/first:")
    assert "by the rule helpful: 12 kept" in first
    assert "by the rule bfpo: 12 kept" in second
    assert first.count("3 updates of 4 pairs") == second.count("3 updates of 4 pairs") == 1
