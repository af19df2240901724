"""A training is gone on with where all that it depends on holds the same, wherever it lies."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.tokenization import load_tokenizer
from bfpo_bench.training.identity import LATER, differences, training_identity
from bfpo_bench.training.on_policy.rewards import choose_reward
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_parts import (
    DataRecipe,
    OptimizationRecipe,
    RelabelRecipe,
    RewardRecipe,
    TokenRecipe,
)
from bfpo_bench.training.train import train
from tests.engines.test_reward_model import classifier
from tests.training.conftest import Mine

DATA = (DataRecipe("one", "helpful", ("a.jsonl",)),)


@pytest.fixture(scope="module")
def identity(tiny_llama: Path) -> Callable[..., dict[str, Any]]:
    tokenizer = load_tokenizer(tiny_llama)

    def of(recipe: Recipe, template: str | None = None, **rewards: Any) -> dict[str, Any]:
        return training_identity(
            recipe, {"weights": "w"}, {"one": "d"}, template or SAYS, tokenizer, rewards
        )

    return of


Of = Callable[..., dict[str, Any]]
SAYS = "{% for m in messages %}{{ m.content }}{% endfor %}"


def test_what_relabels_pairs_counts_by_what_it_is(identity: Of) -> None:
    def recipe(models: str, margin: float) -> Recipe:
        places = {name: f"{models}/{name}" for name in ("helpful", "safe")}
        relabel = RelabelRecipe(models=places, margin=margin)
        return Recipe("pecan", DATA, loss="dpo", relabel=relabel)

    both = {"helpful": {"aligned": "h"}, "safe": {"aligned": "s"}}
    before = json.loads(json.dumps(identity(recipe("here", 0.1), **both)))
    assert differences(before, identity(recipe("there", 0.1), **both)) == []
    assert differences(before, identity(recipe("here", 0.2), **both)) == ["recipe"]
    assert differences(before, identity(recipe("here", 0.1))) == ["rewards"]
    # A record of before there was such a thing is still that of the same training.
    plain = Recipe("dpo", DATA, loss="dpo")
    old = json.loads(json.dumps(identity(plain)))
    del old["recipe"]["relabel"]
    assert differences(old, identity(plain)) == []


def test_a_template_counts_by_its_text_and_not_by_its_path(identity: Of) -> None:
    here, there = (
        Recipe("dpo", DATA, loss="dpo", tokens=TokenRecipe(chat_template=path))
        for path in ("a.jinja", "/moved/b.jinja")
    )
    before = json.loads(json.dumps(identity(here, SAYS)))
    assert differences(before, identity(there, SAYS)) == []
    assert differences(before, identity(here, SAYS + "!")) == ["chat template"]
    # What version 0.1 wrote says nothing of the text: the path is all there is.
    old = {key: value for key, value in before.items() if key not in LATER}
    assert differences(old, identity(here, SAYS + "!")) == []
    assert differences(old, identity(there, SAYS)) == ["recipe"]


def test_what_an_older_version_did_not_know_has_its_default(identity: Of) -> None:
    recipe = Recipe("dpo", DATA, loss="dpo")
    more = replace(recipe, optimization=OptimizationRecipe(max_steps=7))
    before = json.loads(json.dumps(identity(recipe)))
    del before["recipe"]["rollout"], before["recipe"]["data"][0]["unsafe_prompts"]
    del before["recipe"]["tokens"]["max_prompt"]
    assert differences(before, identity(recipe)) == []
    del before["rewards"]  # as an SFT of version 0.1 left it
    assert differences(before, identity(recipe)) == []
    assert differences(before, identity(recipe, safe={"model": "w1"})) == ["rewards"]
    # Version 0.1 called keys otherwise; what they say is compared.
    o = before["recipe"]["optimization"]
    o["updates"], o["warmup"] = o.pop("max_steps"), o.pop("warmup_ratio")
    assert differences(before, identity(recipe)) == []
    assert differences(before, identity(more)) == ["recipe"]
    del before["recipe"]["loss"]
    assert differences(before, identity(recipe)) == ["recipe"]


def test_steerlm_of_before_is_another_training(identity: Of) -> None:
    """Its responses were learnt under the wanted attributes as well."""
    sets = (DataRecipe("one", "attributes", ("a.jsonl",)),)
    recipe = Recipe("steerlm", sets, kind="sft", attributes={"safety": 1})
    before = json.loads(json.dumps(identity(recipe)))
    assert differences(before, identity(recipe)) == []
    del before["SteerLM prompt"]
    assert differences(before, identity(recipe)) == ["SteerLM prompt"]


def test_rewards_count_by_what_they_are_and_not_by_their_path(identity: Of) -> None:
    def on_policy(reward: RewardRecipe) -> Recipe:
        return Recipe("morl", DATA, kind="reward", rewards={"safe": reward}, combination="linear")

    def pairwise(reward: RewardRecipe) -> Recipe:
        return Recipe("modpo", DATA, loss="modpo", margin=reward)

    here, there = (RewardRecipe(model=path, objective="0") for path in ("here/rm", "/there/rm"))
    one, other = ({"model": weights, "objective": 0} for weights in ("w1", "w2"))
    for make in (on_policy, pairwise):
        before = json.loads(json.dumps(identity(make(here), safe=one)))
        assert differences(before, identity(make(there), safe=one)) == []
        assert differences(before, identity(make(here), safe=other)) == ["rewards"]
        assert differences(before, identity(make(replace(here, scale=2.0)), safe=one)) == ["recipe"]


def test_a_moved_reward_model_is_the_same(tiny_llama: Path, tmp_path: Path) -> None:
    here = classifier(tmp_path / "here", tiny_llama, 1)
    moved = shutil.copytree(here, tmp_path / "moved")
    first, second = (
        choose_reward(RewardRecipe(model=str(path), objective="0")).identity()
        for path in (here, moved)
    )
    assert first == second


OWN = "def hinge(logps):\n    return (1 - logps.log_ratio).clamp(min=0)\n"
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_edited_sources_and_templates_are_named(
    mine: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path.cwd())
    Path("own_loss.py").write_text(OWN, encoding="utf-8")
    Path("mine.jinja").write_text(TEMPLATE, encoding="utf-8")
    own = ("loss='own_loss:hinge'", "optimization.max_steps=1")
    recipe = mine("preference", *own, "tokens.chat_template=mine.jinja")
    record = train(recipe, Path("out"), device="cpu")
    assert train(recipe, Path("out"), device="cpu") == json.loads(json.dumps(record))
    Path("mine.jinja").rename("other.jinja")
    moved = mine("preference", *own, "tokens.chat_template=other.jinja")
    assert train(moved, Path("out"), device="cpu")["source"] == record["source"]

    Path("mine.jinja").write_text(TEMPLATE.replace("<", "["), encoding="utf-8")
    Path("own_loss.py").write_text(OWN.replace("1 -", "2 -"), encoding="utf-8")
    monkeypatch.delitem(sys.modules, "own_loss")
    importlib.invalidate_caches()
    with pytest.raises(
        BadInput,
        match=r"out holds a finished training already, with another chat template and "
        r"source of own_loss:hinge; name another",
    ):
        train(recipe, Path("out"), device="cpu")
