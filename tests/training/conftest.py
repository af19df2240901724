"""Pairs of random tokens, and models to train on them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from bfpo_bench.training.tokens import TokenPair

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
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
        )
        return LlamaForCausalLM(config)

    return make
