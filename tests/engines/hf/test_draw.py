"""Sampling against distributions computed by hand and by transformers."""

from __future__ import annotations

import pytest
import torch

from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.hf.draw import (
    pick,
    truncated_distribution,
    uniform_draws,
)
from bfpo_bench.engines.tokenization import cut_at_stop


def test_nucleus_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.5, 0.25, 0.15]]))
    kept = truncated_distribution(logits, temperature=1.0, top_p=0.7)
    assert torch.allclose(kept, torch.tensor([[0.0, 0.5, 0.25, 0.0]]))
    assert torch.allclose(
        truncated_distribution(logits, 1.0, 0.0001), torch.tensor([[0.0, 0.5, 0.0, 0.0]])
    )


@pytest.mark.parametrize("top_p", [0.3, 0.8, 0.95])
def test_nucleus_is_that_of_transformers(top_p: float) -> None:
    from transformers import TopPLogitsWarper

    logits = torch.randn(50, 200, generator=torch.Generator().manual_seed(0)) * 3
    theirs = torch.softmax(TopPLogitsWarper(top_p)(None, logits / 0.7), dim=-1)
    ours = truncated_distribution(logits, 0.7, top_p)
    ours = ours / ours.sum(dim=-1, keepdim=True)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_picks_follow_the_distribution() -> None:
    probabilities = torch.tensor([0.2, 0.0, 0.5, 0.3])
    n = 20_000
    draws = torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tokens = pick(
        torch.log(probabilities).repeat(n, 1), draws, Sampling(temperature=1.0, top_p=1.0)
    )
    share = torch.bincount(tokens, minlength=4) / n
    # Four standard errors of a share around 1/2 over 20,000 draws.
    assert torch.allclose(share, probabilities, atol=4 * 0.5 / n**0.5)
    assert share[1] == 0


def test_extreme_draws_stay_inside_the_nucleus() -> None:
    logits = torch.log(torch.tensor([[0.0, 0.6, 0.4, 0.0]])).repeat(2, 1)
    draws = torch.tensor([0.0, 1 - 1e-16], dtype=torch.float64)
    assert pick(logits, draws, Sampling(temperature=1.0)).tolist() == [1, 2]


def test_temperature_zero_is_greedy() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    assert pick(logits, torch.tensor([0.99]), Sampling(temperature=0.0)).tolist() == [1]


def test_draws_belong_to_the_seed() -> None:
    both = uniform_draws([5, 6], 8)
    assert torch.equal(both[1], uniform_draws([6], 8)[0])
    assert torch.equal(both[:, :3], uniform_draws([5, 6], 3))
    assert not torch.equal(both[0], both[1])


def test_stop_strings() -> None:
    assert cut_at_stop("one two three", ["three", "two"]) == ("one ", True)
    assert cut_at_stop("one", ["x"]) == ("one", False)
