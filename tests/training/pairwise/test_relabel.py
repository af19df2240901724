"""Winners drawn anew by helpful + λ safe: by rewards (MoCAN) and by aligned models (PeCAN)."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.training.dry_run import dry_run
from bfpo_bench.training.pairwise.prepare import prepare_pairs
from bfpo_bench.training.pairwise.relabel import Relabelling, relabelled, turned_round
from bfpo_bench.training.pairwise.trainer import PreferenceTrainer
from bfpo_bench.training.recipe_parts import RelabelRecipe
from bfpo_bench.training.train import train
from tests.training.conftest import Mine, losses, plain_logprob, random_pairs

LONG = "function: 'tests.training.conftest:lengths'"
REWARDS = f"rewards: {{helpful: {{{LONG}, scale: 0.1}}, safe: {{{LONG}, scale: -0.2}}}}"


def test_the_winner_is_drawn_by_the_difference_in_worth() -> None:
    """r + λg is 1 against 0 everywhere: the first wins with σ(1)."""
    count = 40_000
    rated = {"helpful": [(0.5, 1.0)] * count, "safe": [(0.75, 0.0)] * count}
    prompts = [(("user", str(n)),) for n in range(count)]
    found = relabelled(rated, prompts, RelabelRecipe(multiplier=2.0, **names()), 0.1, seed=1)
    kept = 1 - sum(found.turned) / count
    assert kept == pytest.approx(1 / (1 + math.exp(-1)), abs=0.01)
    assert (found.multiplier, found.threshold, found.reference_safe) == (2.0, None, 0.375)
    again = relabelled(rated, prompts, RelabelRecipe(multiplier=2.0, **names()), 0.1, seed=1)
    assert again == found
    # π_λ of the first is σ(1/β).
    assert found.expected_safe == pytest.approx(0.75 / (1 + math.exp(-10)))


def names() -> dict[str, Any]:
    return {"models": {"helpful": "a", "safe": "b"}}


def test_the_multiplier_is_that_of_the_constraint() -> None:
    """Helpful and unsafe against a refusal: λ* = 1 + β logit(0.5 + 0.3)."""
    rated = {"helpful": [(1.0, 0.0)] * 2, "safe": [(0.0, 1.0)] * 2}
    prompts = [(("user", "x"),), (("user", "y"),)]
    known = 1 + 0.25 * math.log(0.8 / 0.2)
    for wanted in ({"margin": 0.3}, {"threshold": 0.8}):
        found = relabelled(rated, prompts, RelabelRecipe(**wanted, **names()), 0.25, seed=0)
        assert found.multiplier == pytest.approx(known)
        assert found.expected_safe == pytest.approx(0.8)
    slack = relabelled(rated, prompts, RelabelRecipe(threshold=-1.0, **names()), 0.25, seed=0)
    assert slack.multiplier == 0


def test_a_pair_is_turned_round_with_its_labels() -> None:
    [pair] = random_pairs(2)[1:]
    turned = turned_round(pair)
    assert (turned.chosen, turned.rejected) == (pair.rejected, pair.chosen)
    assert (turned.chosen_safe, turned.rejected_safe) == (pair.rejected_safe, pair.chosen_safe)
    assert turned_round(turned) == pair


@pytest.mark.slow
def test_mocan_from_rewards_to_a_checkpoint(mine: Mine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer is more helpful and less safe; the trainer gets what was drawn."""
    recipe = mine(
        "preference", "loss_parameters={beta: 1.0}", f"relabel={{{REWARDS}, margin: 0.5}}"
    )
    dry = dry_run(recipe, Path("out"), Progress(show=False))
    assert "drawn anew by helpful + λ · safe before training (rewards, the λ by which" in dry
    seen: list[Any] = []
    inner = PreferenceTrainer.__init__

    def noting(self: Any, model: Any, args: Any, pairs: Any, *rest: Any, **more: Any) -> None:
        seen.extend(pairs)
        inner(self, model, args, pairs, *rest, **more)

    monkeypatch.setattr(PreferenceTrainer, "__init__", noting)
    record = train(recipe, Path("out"), device="cpu")
    found = record["relabelled"]
    assert found["multiplier"] > 0
    assert found["expected_safe"] == pytest.approx(found["reference_safe"] + 0.5)
    before = prepare_pairs(recipe, Progress(show=False)).pairs
    turned = [after == turned_round(pair) for after, pair in zip(seen, before, strict=True)]
    assert sum(turned) == found["turned"]
    assert 0 < sum(turned) < len(turned) == found["pairs"] == 12
    assert all(now or after == pair for now, after, pair in zip(turned, seen, before, strict=True))
    assert record["rewards"]["safe"] == {
        "function": "tests.training.conftest:lengths",
        "parameters": {},
    }
    assert losses(record)[0] == pytest.approx(math.log(2), abs=1e-5)
    assert not Path("out/ratings.json").exists()
    again = train(recipe, Path("out"), device="cpu")
    assert (again["started"], again["relabelled"]) == (record["started"], found)


@pytest.mark.slow
def test_pecans_rewards_are_log_ratios(mine: Mine, tiny_llama: Path, monkeypatch: Any) -> None:
    """Of two models that are the base, one with another head: β (log π - log π_ref) by hand."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(tiny_llama)
    aligned = AutoModelForCausalLM.from_pretrained(tiny_llama)
    recipe = mine("preference")  # goes to a new folder
    with torch.no_grad():
        aligned.model.norm.weight.mul_(1.5)
    for place, model in (("helpful", base), ("safe", aligned)):
        model.save_pretrained(place)
        AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(place)
    models = RelabelRecipe(models={"helpful": "helpful", "safe": "safe"}, margin=0.02)
    recipe = replace(recipe, relabel=models, loss_parameters={"beta": 0.3})
    rated: list[Any] = []
    inner = Relabelling._implicit

    def noting(self: Any, *rest: Any) -> Any:
        rated.append(inner(self, *rest))
        return rated[0]

    monkeypatch.setattr(Relabelling, "_implicit", noting)
    record = train(recipe, Path("out"), device="cpu")
    [found] = rated
    assert np.abs(found["helpful"]).max() < 1e-4
    for pair, both in zip(prepare_pairs(recipe, Progress(False)).pairs, found["safe"], strict=True):
        for response, worth in zip((pair.chosen, pair.rejected), both, strict=True):
            with torch.no_grad():
                of = [plain_logprob(one, pair.prompt, response).item() for one in (aligned, base)]
            assert worth == pytest.approx(0.3 * (of[0] - of[1]), abs=1e-4)
    assert record["relabelled"]["multiplier"] > 0
    assert record["rewards"]["helpful"]["aligned"] != record["rewards"]["safe"]["aligned"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ("relabel={margin: 0.1}", "'relabel' needs either 'rewards' or 'models', two of them"),
        (f"relabel={{rewards: {{safe: {{{LONG}}}}}, margin: 0.1}}", "called 'helpful' and 'safe'"),
        (f"relabel={{{REWARDS}}}", "needs one of 'multiplier', 'margin' and 'threshold'"),
        (f"relabel={{{REWARDS}, multiplier: -1}}", "multiplier must be at least 0"),
        (
            "relabel={rewards: {helpful: {label: safe}, safe: {label: safe}}, multiplier: 1}",
            "the rewards of 'relabel' cannot come from a 'label'",
        ),
        (f"kind=sft,relabel={{{REWARDS}, multiplier: 1}}", "'relabel' belongs to a preference"),
        (
            f"margin={{label: safe}},relabel={{{REWARDS}, multiplier: 1}}",
            "'margin' is of the pairs as they are and 'relabel' makes others",
        ),
        (
            "relabel={models: {helpful: gone/a, safe: gone/b}, margin: 0.1}",
            r"relabel\.models\.helpful is to be a model that was aligned before, .*'gone/a'",
        ),
    ],
)
def test_what_is_wrong_is_said(mine: Mine, changes: str, sentence: str) -> None:
    first, comma, rest = changes.partition(",relabel")
    every = [first, *([f"relabel{rest}"] if comma else [])]
    kind = "sft" if first == "kind=sft" else "preference"
    with pytest.raises(BadInput, match=sentence):
        prepare_pairs(mine(kind, *every), Progress(show=False))
