"""Tokenizers that know more tokens than the model: padding is any token, other ones are told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.hf.engine import HFEngine
from bfpo_bench.engines.protocol import EngineOptions, GenerateRequest
from bfpo_bench.engines.reward_model import RewardModel, find_reward_model
from bfpo_bench.engines.tokenization import load_tokenizer
from tests.engines.test_reward_model import PROMPTS, RESPONSES, classifier


def with_more_tokens(folder: Path, copy: Path) -> Path:
    """A copy whose tokenizer got a padding token and another one that the model was not told of."""
    shutil.copytree(folder, copy)
    tokenizer = load_tokenizer(copy)
    tokenizer.add_special_tokens({"pad_token": "<new-pad>"})
    tokenizer.add_tokens(["<new-word>"])
    tokenizer.save_pretrained(copy)
    return copy


def test_responses_do_not_depend_on_the_padding_token(tiny_llama: Path, tmp_path: Path) -> None:
    asked = [
        GenerateRequest(prompt, Sampling(6, temperature=0.0), 3)
        for prompt in ("Hello", "Tell me of a hat, a cup and a tree.", "Why?")
    ]
    found = []
    for model in (tiny_llama, with_more_tokens(tiny_llama, tmp_path / "more")):
        engine = HFEngine(EngineOptions(str(model), dtype="float32", device="cpu", batch_size=3))
        found.append({i: answer for batch in engine.respond(asked) for i, answer in batch})
    assert engine.tokenizer.pad_token_id >= engine.model.get_input_embeddings().weight.shape[0]
    assert found[0] == found[1]
    with pytest.raises(BadInput, match=r"the tokenizer made token \d+, the model knows tokens 0 t"):
        list(engine.respond([GenerateRequest("A <new-word> here", Sampling(2), 0)]))


def test_rewards_do_not_depend_on_the_padding_token(tiny_llama: Path, tmp_path: Path) -> None:
    first = classifier(tmp_path / "rm", tiny_llama, 2)
    second = with_more_tokens(first, tmp_path / "more")
    rated = [
        RewardModel(find_reward_model(str(folder)), torch.device("cpu"))
        for folder in (first, second)
    ]
    rows = [model.rate(PROMPTS, RESPONSES) for model in rated]
    assert torch.equal(rows[0], rows[1])
    with pytest.raises(BadInput, match=r"the tokenizer made token \d+, the model knows tokens 0 t"):
        rated[1].rate(PROMPTS[:1], ["A <new-word>"])
