"""Pairs of random tokens, models to train on them, and a folder to train in."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.training.data.tokenize import TokenPair
from tests.toy_models import SMALL

VOCABULARY = 90


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
