"""Packed pairs against each sequence computed on its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from bfpo_bench.engines.prefix.chains import NAME, chains_of, use_chain_attention
from bfpo_bench.engines.prefix.tree import SortedRequests
from bfpo_bench.training.data.tokenize import TokenPair
from bfpo_bench.training.pairwise.packing import pack_pairs, response_logprobs
from tests.toy_models import SMALL
from tests.training.conftest import plain_logprob, random_pairs

NewModel = Callable[[], Any]


def gradients(model: Any) -> list[torch.Tensor]:
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    return found


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("chains", [False, True])
def test_logprobs_and_gradients_are_those_of_single_sequences(
    new_model: NewModel, chains: bool, checkpointing: bool
) -> None:
    model, pairs = new_model(), random_pairs(9)
    if chains:
        use_chain_attention(model)
        assert model.config._attn_implementation == NAME
    if checkpointing:
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    weights = torch.linspace(-1, 1, 18)
    chosen, rejected = response_logprobs(model, pack_pairs(pairs))
    (torch.cat([chosen, rejected]) * weights).sum().backward()
    packed = gradients(model)

    plain = torch.stack(
        [plain_logprob(model, p.prompt, p.chosen) for p in pairs]
        + [plain_logprob(model, p.prompt, p.rejected) for p in pairs]
    )
    (plain * weights).sum().backward()
    assert chosen.dtype == torch.float32
    assert torch.allclose(torch.cat([chosen, rejected]), plain, atol=1e-4)
    for mine, theirs in zip(packed, gradients(model), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_logits_in_several_chunks(
    new_model: NewModel, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bfpo_bench.engines.prefix import packed as packed_model

    pairs, found = random_pairs(5), []
    for size in (packed_model.LOGITS_BYTES, 4 * 90 * 3):  # all, or three places of 90 words
        monkeypatch.setattr(packed_model, "LOGITS_BYTES", size)
        model = new_model()
        if checkpointing:
            model.train()
            model.gradient_checkpointing_enable({"use_reentrant": False})
        chosen, rejected = response_logprobs(model, pack_pairs(pairs))
        (chosen - 2 * rejected).sum().backward()
        found.append(gradients(model))
    for whole, cut in zip(*found, strict=True):
        assert torch.allclose(whole, cut, atol=1e-5)


def test_a_prompt_is_computed_once_and_rows_are_filled() -> None:
    def pair(prompt: int, chosen: int, rejected: int) -> TokenPair:
        # No two prompts and no two responses begin alike.
        return TokenPair(
            [prompt] * prompt, [2] * chosen, [3] * rejected, None, None, "one", None, cut=0
        )

    # Of a response all tokens but the last are fed: 20 + 4 + 9, 10 + 1 + 2 and 16 + 1 + 1.
    packed = pack_pairs([pair(10, 2, 3), pair(20, 5, 10), pair(16, 2, 2)])
    assert [len(row) for row in packed.rows] == [33, 31]
    assert sorted(packed.order) == list(range(6))
    for row, wanted in zip(packed.rows, packed.queries, strict=True):
        for path, want in zip(row.paths, wanted, strict=True):
            assert len(path) == want.start + len(want.targets)


def test_tokens_count_by_their_weights(new_model: NewModel) -> None:
    """Masked ends are responses cut short; weights of 1 change no bit."""
    model, pairs = new_model(), random_pairs(7)
    whole = response_logprobs(model, pack_pairs(pairs))
    ones = [replace(p, chosen_weights=[1.0] * len(p.chosen)) for p in pairs]
    assert torch.equal(torch.cat(response_logprobs(model, pack_pairs(ones))), torch.cat(whole))
    # Of every response but the first pair's the first half counts twice, and the rest not at all.
    weighed, short = [pairs[0]], [pairs[0]]
    for pair in pairs[1:]:
        sides = {"chosen": pair.chosen, "rejected": pair.rejected}
        halves = {name: ids[: (len(ids) + 1) // 2] for name, ids in sides.items()}
        weights = {
            f"{name}_weights": [2.0] * len(halves[name]) + [0.0] * (len(ids) - len(halves[name]))
            for name, ids in sides.items()
        }
        weighed.append(replace(pair, **weights))
        short.append(replace(pair, **halves))
    found = torch.cat(response_logprobs(model, pack_pairs(weighed)))
    twice = torch.tensor([1.0, *[2.0] * 6] * 2)
    expected = twice * torch.cat(response_logprobs(model, pack_pairs(short)))
    assert torch.allclose(found, expected, atol=1e-4)
    slope = torch.autograd.grad(found.sum(), model.lm_head.weight)[0]
    assert torch.allclose(
        slope, torch.autograd.grad(expected.sum(), model.lm_head.weight)[0], atol=1e-4
    )


def test_one_response_that_begins_the_other(new_model: NewModel) -> None:
    model = new_model()
    pair = TokenPair([4, 5], [7, 8], [7, 8, 9, 6], None, None, "one", None, cut=0)
    with torch.no_grad():
        [chosen], [rejected] = response_logprobs(model, pack_pairs([pair]))
        assert chosen.item() == pytest.approx(plain_logprob(model, [4, 5], [7, 8]).item(), abs=1e-5)
        assert rejected.item() == pytest.approx(
            plain_logprob(model, [4, 5], [7, 8, 9, 6]).item(), abs=1e-5
        )


def test_products_in_bfloat16_leave_sums_in_float32(new_model: NewModel) -> None:
    model, pairs = new_model(), random_pairs(6)
    with torch.no_grad():
        exact = torch.cat(response_logprobs(model, pack_pairs(pairs)))
        coarse = torch.cat(response_logprobs(model, pack_pairs(pairs), torch.bfloat16))
    assert coarse.dtype == torch.float32
    assert not torch.equal(coarse, exact)
    assert torch.allclose(coarse, exact, rtol=1e-2)
    # More than bfloat16's 8 bits are there.
    assert not torch.equal(coarse, coarse.bfloat16().float())


def test_chains_of_a_row() -> None:
    """Two pairs with one system prompt; the responses of the first begin alike."""
    pairs = [
        TokenPair([1, 1, 2], [5, 6, 6, 0], [5, 7, 0], None, None, "one", None, cut=0),
        TokenPair([1, 1, 3], [8, 0], [9, 9, 0], None, None, "one", None, cut=0),
    ]
    sequences = [[*p.prompt, *r][:-1] for p in pairs for r in (p.chosen, p.rejected)]
    row = SortedRequests(sequences).lay_out(range(4))
    chains = chains_of(row, width=16)
    #  1 1 | 2 5 | 6 6 | 7 | 3 | 8 | 9 9 | padding
    assert chains.sizes == [2, 2, 2, 1, 1, 1, 2, 5]
    assert chains.ancestors == [[], [0], [0, 1], [0, 1], [0], [0, 4], [0, 4]]


@pytest.mark.parametrize("window", [3, 17, 200])
def test_sliding_windows(window: int) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    model = MistralForCausalLM(
        MistralConfig(
            vocab_size=90,
            **SMALL,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=window,
        )
    )
    pairs = random_pairs(6)
    with torch.no_grad():
        expected = torch.tensor(
            [[plain_logprob(model, p.prompt, r) for r in (p.chosen, p.rejected)] for p in pairs]
        )
        use_chain_attention(model)
        found = torch.stack(response_logprobs(model, pack_pairs(pairs)), dim=1)
        # Ordinary sequences are computed as ever.
        again = plain_logprob(model, pairs[0].prompt, pairs[0].chosen)
    assert torch.allclose(found, expected, atol=1e-4)
    assert again.item() == pytest.approx(expected[0, 0].item(), abs=1e-5)


def test_other_attention_is_left_plain_logprob(new_model: NewModel) -> None:
    model = new_model()
    model.set_attn_implementation("eager")
    use_chain_attention(model)
    assert model.config._attn_implementation == "eager"
