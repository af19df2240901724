"""The learning rate of each update, and that no training trains nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.rates import share
from bfpo_bench.training.recipe_file import load_recipe
from bfpo_bench.training.train import train

PAIRWISE = """
method: mine
loss: dpo
precision: fp32
data: [{name: one, pairs: bfpo, files: [pairs.jsonl]}]
optimization: {learning_rate: 1e-3, pairs_per_update: 12, per_device_train_batch_size: 4}
"""
SFT = """
method: mine
kind: sft
precision: fp32
data: [{name: one, pairs: helpful, files: [pairs.jsonl]}]
optimization: {learning_rate: 1e-3, pairs_per_update: 12, per_device_train_batch_size: 4}
"""
ON_POLICY = """
method: mine
kind: reward
precision: fp32
data: [{name: one, pairs: prompts, files: [pairs.jsonl]}]
rewards:
  helpful: {function: "tests.training.test_rates:words"}
  safe: {function: "tests.training.test_rates:words"}
combination: linear
combination_parameters: {weight: 0.5}
rollout: {num_generations: 4, max_completion_length: 4}
optimization: {learning_rate: 1e-3, pairs_per_update: 8, per_device_train_batch_size: 8,
  max_steps: 1}
"""


def words(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(len(response)) for response in responses]


def test_rates() -> None:
    def rates(schedule: str, warmup: int, updates: int) -> list[float]:
        return [share(schedule, warmup, updates, k) for k in range(updates)]

    assert rates("linear", 2, 6) == [0.5, 1, 1, 0.75, 0.5, 0.25]
    # (1 + cos(π k / 4)) / 2
    assert rates("cosine", 0, 4) == pytest.approx([1, 0.8535534, 0.5, 0.1464466])
    assert rates("constant", 2, 3) == [1, 1, 1]
    assert rates("constant_with_warmup", 4, 6) == [0.25, 0.5, 0.75, 1, 1, 1]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "constant_with_warmup"])
def test_no_update_is_spent_at_a_rate_of_0(schedule: str) -> None:
    for updates in range(1, 12):
        for warmup in range(updates + 1):
            rates = [share(schedule, warmup, updates, k) for k in range(updates)]
            assert min(rates) > 0
            assert max(rates) == 1


@pytest.mark.parametrize("kind", ["preference", "sft", "reward"])
def test_a_training_of_one_update_changes_weights(
    kind: str, tiny_llama: Path, work_with: Callable[[str], None]
) -> None:
    from safetensors.torch import load_file

    work_with({"preference": PAIRWISE, "sft": SFT, "reward": ON_POLICY}[kind])
    record = train(load_recipe("mine.yaml", base=str(tiny_llama)), Path("out"), device="cpu")
    rates = [entry["learning_rate"] for entry in record["curves"] if "learning_rate" in entry]
    assert rates == [1e-3]
    before, after = (
        load_file(folder / "model.safetensors") for folder in (tiny_llama, Path("out"))
    )
    assert not any(torch.equal(before[name].float(), after[name]) for name in before)


def test_a_rate_that_is_0_to_the_weights(work_with: Callable[[str], None]) -> None:
    work_with(PAIRWISE)
    with pytest.raises(BadInput, match="'learning_rate' must be above 0, also in float32"):
        load_recipe("mine.yaml", ["optimization.learning_rate=1e-50"])
    Path("mine.yaml").write_text(ON_POLICY)
    with pytest.raises(BadInput, match="'dropout' of lora would part the policy from its own"):
        load_recipe("mine.yaml", ["lora={dropout: 0.1}"])
