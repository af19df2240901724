"""MODPO's margins: from labels and rewards, into the loss."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.training.data.preferences import Pair
from bfpo_bench.training.dry_run import dry_run
from bfpo_bench.training.pairwise.margins import label_margins
from bfpo_bench.training.pairwise.prepare import prepare_pairs
from bfpo_bench.training.pairwise.trainer import PreferenceTrainer
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_file import load_recipe
from bfpo_bench.training.recipe_parts import RewardRecipe
from bfpo_bench.training.train import train

RECIPE = """
method: modpo
loss: modpo
loss_parameters: {{beta: 0.1, weight: 0.5}}
margin: {margin}
precision: fp32
layers: [mlp.down_proj]
data: [{{name: pku, pairs: helpful, files: ["{file}"], limit: 8}}]
tokens: {{max_length: 256, max_prompt: 128}}
optimization: {{learning_rate: 1e-3, pairs_per_update: 8, per_device_train_batch_size: 8,
  max_steps: 2}}
"""

LENGTHS = f"{{function: '{__name__}:length', scale: 0.01}}"


def length(prompts: list[Any], responses: list[str]) -> list[float]:
    return [float(len(response)) for response in responses]


def recipe_for(folder: Path, file: Path, base: Path, margin: str) -> Recipe:
    (folder / "modpo.yaml").write_text(RECIPE.format(file=file, margin=margin), encoding="utf-8")
    return load_recipe(str(folder / "modpo.yaml"), base=str(base))


def test_margins_from_labels() -> None:
    def pair(chosen: bool | None, rejected: bool | None) -> Pair:
        return Pair((("user", "?"),), "a", "b", chosen, rejected, "mine")

    pairs = [pair(True, False), pair(False, True), pair(True, True), pair(False, False)]
    found = label_margins(RewardRecipe(label="safe", scale=2.0), pairs)
    assert [p.margin for p in found] == [2.0, -2.0, 0.0, 0.0]
    with pytest.raises(BadInput, match="come from safety labels, which a pair of set 'mine'"):
        label_margins(RewardRecipe(label="safe"), [pair(True, None)])


def test_labels_are_margins_before_any_training(
    data_dir: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    file = data_dir / "preference" / "pku_saferlhf_32.json"
    recipe = recipe_for(tmp_path, file, tiny_llama, "{label: safe}")
    prepared = prepare_pairs(recipe, Progress(show=False))
    assert prepared.margin is None
    assert {p.margin for p in prepared.pairs} <= {-1.0, 0.0, 1.0}
    assert [p.margin for p in prepared.pairs] == [
        int(bool(p.chosen_safe)) - int(bool(p.rejected_safe)) for p in prepared.pairs
    ]


@pytest.mark.slow
def test_modpo_from_a_reward_to_a_checkpoint(
    data_dir: Path, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The margins that reach the trainer are the reward's differences, pair by pair."""
    file = data_dir / "preference" / "pku_saferlhf_32.json"
    monkeypatch.setenv("BFPO_CACHE_DIR", str(tmp_path / "cache"))
    recipe = recipe_for(tmp_path, file, tiny_llama, LENGTHS)
    dry = dry_run(recipe, tmp_path / "out", Progress(show=False))
    assert "margins will be rated before training" in dry
    seen: list[float] = []
    inner = PreferenceTrainer.__init__

    def noting(
        self: Any, model: Any, args: Any, pairs: Sequence[Any], *rest: Any, **kw: Any
    ) -> None:
        seen.extend(pair.margin for pair in pairs)
        inner(self, model, args, pairs, *rest, **kw)

    monkeypatch.setattr(PreferenceTrainer, "__init__", noting)
    record = train(recipe, tmp_path / "out", device="cpu")
    answered = prepare_pairs(recipe, Progress(show=False)).answered
    assert seen == pytest.approx(
        [0.01 * (len(chosen) - len(rejected)) for _, (chosen, rejected) in answered], abs=1e-9
    )
    assert record["updates"] == 2
    written = json.loads((tmp_path / "out" / "training.json").read_text(encoding="utf-8"))
    assert written["recipe"]["margin"]["scale"] == 0.01
    assert not (tmp_path / "out" / "ratings.json").exists()
