"""Pairs of random tokens, models to train on them, and a folder to train in."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.training.data.tokenize import TokenPair
from bfpo_bench.training.pairwise.trainer import PreferenceTrainer
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_file import load_recipe
from tests.toy_models import SMALL

VOCABULARY = 90

SETTINGS = """
method: mine
precision: fp32
optimization: {learning_rate: 1e-3, pairs_per_update: 4, per_device_train_batch_size: 4}
"""
RECIPES = {
    "preference": """
loss: dpo
data: [{name: one, pairs: bfpo, files: [pairs.jsonl]}]
""",
    "sft": """
kind: sft
data: [{name: one, pairs: helpful, files: [pairs.jsonl]}]
""",
    "reward": """
kind: reward
data: [{name: one, pairs: prompts, files: [pairs.jsonl]}]
rewards:
  helpful: {function: "tests.training.conftest:lengths"}
  safe: {function: "tests.training.conftest:lengths"}
combination: linear
combination_parameters: {weight: 0.5}
rollout: {num_generations: 4, max_completion_length: 4}
""",
}
"""The shortest of each kind."""

Mine = Callable[..., Recipe]
"""``mine(kind, *changes, base=…)``."""


def lengths(prompts: list[str], responses: list[str]) -> list[float]:
    """A reward."""
    return [float(len(response)) for response in responses]


def losses(record: dict[str, Any]) -> list[float]:
    """Those that were logged."""
    return [entry["loss"] for entry in record["curves"] if "loss" in entry]


def random_pairs(count: int, seed: int = 0) -> list[TokenPair]:
    """Pairs of different lengths from two sets, with every combination of safety."""
    rng = random.Random(seed)

    def tokens(low: int, high: int) -> list[int]:
        return [rng.randrange(1, VOCABULARY) for _ in range(rng.randint(low, high))]

    return [
        TokenPair(
            prompt=tokens(3, 25),
            chosen=tokens(1, 12),
            rejected=tokens(1, 12),
            chosen_safe=bool(i & 1),
            rejected_safe=bool(i & 2),
            source="one" if i % 3 else "other",
            margin=None,
            cut=0,
        )
        for i in range(count)
    ]


def plain_logprob(model: Any, prompt: Sequence[int], response: Sequence[int]) -> Any:
    """Log-probability of a response by the model's ordinary forward."""
    import torch

    ids = torch.tensor([[*prompt, *response]])
    logprobs = torch.log_softmax(model(ids).logits[0, :-1].float(), dim=-1)
    return logprobs.gather(-1, ids[0, 1:, None])[len(prompt) - 1 :].sum()


@pytest.fixture
def new_model() -> Callable[[], Any]:
    """Makes the same tiny Llama every time."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def make() -> Any:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            **SMALL,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
        )
        return LlamaForCausalLM(config)

    return make


@pytest.fixture
def work_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Goes to a new folder with a recipe as ``mine.yaml``, and twelve pairs in ``pairs.jsonl``."""

    def go(recipe: str) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("BFPO_CACHE_DIR", str(tmp_path / "cache"))
        refusals = ["i will not say that " * (1 + i % 3) for i in range(12)]
        rows = [
            {
                "prompt": f"how do i clean lamp number {i} ?",
                "responses": [f"gently with {i} drops of water", refusal],
                "safe": [bool(i & 1), bool(i & 2)],
                "more_helpful": i % 2,
            }
            for i, refusal in enumerate(refusals)
        ]
        Path("pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        Path("mine.yaml").write_text(recipe, encoding="utf-8")

    return go


@pytest.fixture
def mine(tiny_llama: Path, work_with: Callable[[str], None]) -> Mine:
    """Makes a recipe of a kind over twelve pairs; paths are relative to a new working folder."""
    work_with(SETTINGS)

    def make(kind: str, *changes: str, base: Path | str = tiny_llama) -> Recipe:
        work_with(RECIPES[kind] + SETTINGS)
        return load_recipe("mine.yaml", changes, str(base))

    return make


def during(step: int, then: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has something happen in the middle of an update (from 0)."""
    inner = PreferenceTrainer.training_step

    def training_step(self: Any, *arguments: Any, **more: Any) -> Any:
        loss = inner(self, *arguments, **more)
        if self.state.global_step == step:
            then()
        return loss

    monkeypatch.setattr(PreferenceTrainer, "training_step", training_step)
