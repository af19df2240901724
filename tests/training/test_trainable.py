"""What is trained (layers by name pattern, or adapters beside them), and nothing left to chance."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training import trainable
from bfpo_bench.training.pairwise.packing import pack_pairs, response_logprobs
from bfpo_bench.training.recipe_parts import LoraRecipe
from bfpo_bench.training.train import train
from bfpo_bench.training.trainable import (
    add_adapters,
    chance_fault,
    select_layers,
    without_chance,
)
from tests.training.conftest import Mine, random_pairs

NewModel = Callable[[], Any]


@pytest.mark.parametrize(
    ("patterns", "count"),
    [
        (["mlp.down_proj"], 2),
        (["layers.1.*_proj"], 7),
        (["q_proj", "k_proj", "q_proj"], 4),
        (["norm"], 5),
        ([], 21),
    ],
)
def test_patterns(new_model: NewModel, patterns: list[str], count: int) -> None:
    model = new_model().bfloat16()
    trained = select_layers(model, patterns)
    assert len(trained) == count
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name in trained)
        assert parameter.dtype == (torch.float32 if name in trained else torch.bfloat16)


def test_frozen_weights_get_no_gradient_and_keep_nothing_for_one(new_model: NewModel) -> None:
    """Of a frozen matrix autograd saves the weight (for the input's gradient), never the input."""
    saved: dict[bool, int] = {}
    for frozen in (False, True):
        model = new_model()
        select_layers(model, ["mlp.down_proj"] if frozen else [])
        weights = {p.data_ptr() for p in model.parameters()}
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor, weights: Any = weights, sizes: Any = sizes) -> torch.Tensor:
            if tensor.data_ptr() not in weights:
                sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            chosen, _ = response_logprobs(model, pack_pairs(random_pairs(4)))
        chosen.sum().backward()
        saved[frozen] = sum(sizes.values())
        for name, parameter in model.named_parameters():
            assert (parameter.grad is None) == (frozen and "down_proj" not in name)
    assert saved[True] < 0.8 * saved[False]


def test_a_pattern_that_selects_nothing(new_model: NewModel) -> None:
    message = r"'mlp.donw_proj' selects none of the layers; did you mean 'mlp.down_proj'\? It has "
    with pytest.raises(BadInput, match=message + r".*q_proj"):
        select_layers(new_model(), ["q_proj", "mlp.donw_proj"])
    with pytest.raises(BadInput, match=r"'xyz' selects none of the layers; it has .*mlp.gate_proj"):
        select_layers(new_model(), ["xyz"])


def test_adapters_start_as_nothing_and_alone_are_trained(new_model: NewModel) -> None:
    pairs = pack_pairs(random_pairs(4))
    plain = new_model()
    adapted = add_adapters(new_model(), LoraRecipe(rank=3), ["mlp", "q_proj"])
    with torch.no_grad():
        assert torch.equal(response_logprobs(adapted, pairs)[0], response_logprobs(plain, pairs)[0])
    trained = [name for name, p in adapted.named_parameters() if p.requires_grad]
    # Gate, up, down and query of two blocks, two matrices each.
    assert len(trained) == 2 * 4 * 2
    assert all("lora_" in name for name in trained)
    every = add_adapters(new_model(), LoraRecipe(rank=3), [])
    assert sum(p.requires_grad for p in every.parameters()) == 2 * 7 * 2


def test_adapters_go_beside_linear_layers_only(new_model: NewModel) -> None:
    with pytest.raises(BadInput, match=r"'norm' selects no linear layer; "):
        add_adapters(new_model(), LoraRecipe(), ["norm"])


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
    mine: Mine,
    tiny_llama: Path,
    tmp_path: Path,
) -> None:
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    base = tmp_path / "base"
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(base)
    size = json.loads((tiny_llama / "config.json").read_text())["vocab_size"]
    torch.manual_seed(0)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2)
    ).save_pretrained(base)
    # Nothing moves: what is logged are the losses of policy = reference.
    still = ("optimization.learning_rate=1e-9", "optimization.pairs_per_update=12")
    changes = (f"loss={loss}", f"loss_parameters={parameters}", *still)
    record = train(mine("preference", *changes, base=base), Path("out"), device="cpu")
    assert record["curves"][0]["loss"] == pytest.approx(first, abs=2e-5)
    # The checkpoint is one with dropout, as its base is.
    assert json.loads(Path("out/config.json").read_text())["attn_pdrop"] == 0.1


def test_a_model_that_cannot_be_silenced(mine: Mine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainable, "TOLERANCE", -1.0)
    with pytest.raises(BadInput, match="LlamaForCausalLM cannot be trained against a reference: "):
        train(mine("preference"), Path("out"), device="cpu")
