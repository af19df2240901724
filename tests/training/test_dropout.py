"""Policy and reference compute alike, whatever a checkpoint's config leaves to chance."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training import dropout
from bfpo_bench.training.dropout import chance_fault, without_chance
from bfpo_bench.training.recipe_file import load_recipe
from bfpo_bench.training.train import train

RECIPE = """
method: mine
loss: dpo
precision: fp32
data: [{name: one, pairs: bfpo, files: [pairs.jsonl]}]
optimization: {learning_rate: 1e-9, pairs_per_update: 12, per_device_train_batch_size: 4}
"""
# Small enough that 1e-9 moves nothing: what is logged are the losses of policy = reference.


def tiny(kind: str) -> Any:
    """A model of an architecture with dropout (and OPT's skipped layers) as published ones have."""
    import transformers as t

    torch.manual_seed(0)
    if kind == "gpt2":
        return t.GPT2LMHeadModel(t.GPT2Config(vocab_size=90, n_embd=32, n_layer=2, n_head=4))
    if kind == "opt":
        config = t.OPTConfig(
            vocab_size=90,
            hidden_size=32,
            ffn_dim=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            word_embed_proj_dim=32,
            attention_dropout=0.1,
            layerdrop=0.3,
        )
        return t.OPTForCausalLM(config)
    if kind == "phimoe":
        moe = t.PhimoeConfig(
            vocab_size=90,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_local_experts=4,
            input_jitter_noise=0.3,
            router_jitter_noise=0.3,
        )
        return t.PhimoeForCausalLM(moe)
    config = t.PhiConfig(
        vocab_size=90,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        embd_pdrop=0.1,
        resid_pdrop=0.1,
        attention_dropout=0.1,
    )
    return t.PhiForCausalLM(config)


@pytest.mark.parametrize("kind", ["gpt2", "opt", "phi", "phimoe"])
def test_a_model_trains_as_it_is_evaluated(kind: str) -> None:
    model = tiny(kind).eval()
    assert "otherwise while it trains" in str(chance_fault(model))
    without_chance(model)
    assert chance_fault(model) is None
    assert not model.training


@pytest.mark.parametrize(
    ("loss", "parameters", "first"),
    [
        ("dpo", "{beta: 0.1}", math.log(2)),
        ("ipo", "{tau: 0.5}", 1.0),  # (0 - 1/(2τ))²
        # Labels are -0.5, -1, 1, 0.5 of (neither safe, the other, this one, both), three times.
        ("bfpo", "{tau: 0.5}", (0.5**2 + 1 + 1 + 0.5**2) / 4 / 0.5**2),
    ],
)
def test_the_first_loss_is_the_closed_form(
    loss: str,
    parameters: str,
    first: float,
    tiny_llama: Path,
    work_with: Callable[[str], None],
) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    work_with(RECIPE)
    base = _with_tokenizer_of(tiny_llama)
    size = json.loads((tiny_llama / "config.json").read_text())["vocab_size"]
    torch.manual_seed(0)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2)
    ).save_pretrained(base)
    changes = [f"loss={loss}", f"loss_parameters={parameters}"]
    record = train(load_recipe("mine.yaml", changes, str(base)), Path("out"), device="cpu")
    assert record["curves"][0]["loss"] == pytest.approx(first, abs=2e-5)
    # The checkpoint is one with dropout, as its base is.
    assert json.loads(Path("out/config.json").read_text())["attn_pdrop"] == 0.1


def test_a_model_that_cannot_be_silenced(
    tiny_llama: Path, work_with: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    work_with(RECIPE)
    monkeypatch.setattr(dropout, "TOLERANCE", -1.0)
    with pytest.raises(BadInput, match="LlamaForCausalLM cannot be trained against a reference: "):
        train(load_recipe("mine.yaml", base=str(tiny_llama)), Path("out"), device="cpu")


def _with_tokenizer_of(model: Path) -> Path:
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(model).save_pretrained("base")
    return Path("base")
