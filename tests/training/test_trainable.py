"""What is trained: layers by name pattern, or adapters beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.pairwise.packing import pack_pairs, response_logprobs
from bfpo_bench.training.recipe import LoraRecipe
from bfpo_bench.training.trainable import add_adapters, select_layers
from tests.training.conftest import random_pairs

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
