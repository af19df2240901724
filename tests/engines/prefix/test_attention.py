"""Masks against the rule written out for every pair of tokens; FlexAttention against SDPA."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bfpo_bench.engines.prefix.attention import (
    BLOCK,
    FLEX,
    attention,
    block_mask,
    dense_mask,
    layer_windows,
    padded_width,
)
from bfpo_bench.engines.prefix.packed import PackedModel, Query
from bfpo_bench.engines.prefix.tree import Row, pack
from tests.engines.architectures import PACKABLE, VOCABULARY, WINDOW, make, shared


def allowed(row: Row, width: int, window: int | None) -> Tensor:
    """Which tokens see which, found by walking up from every token, ``[width, width]``."""
    seen = torch.eye(width, dtype=torch.bool)
    for path in row.paths:
        for depth, query in enumerate(path):
            first = 0 if window is None else max(0, depth - window + 1)
            seen[query, path[first : depth + 1]] = True
    return seen


def padded(rows: list[Row], width: int) -> tuple[Tensor, Tensor]:
    positions = torch.zeros((len(rows), width), dtype=torch.long)
    ends = torch.arange(1, width + 1).repeat(len(rows), 1)
    for i, row in enumerate(rows):
        positions[i, : len(row)] = torch.from_numpy(row.positions)
        ends[i, : len(row)] = torch.from_numpy(row.ends)
    return positions, ends


def random_rows(rng: random.Random, max_tokens: int, longest: int) -> list[Row]:
    requests = []
    for _ in range(rng.randint(1, 6)):
        question = [rng.randrange(5) for _ in range(rng.randint(1, longest))]
        for _ in range(rng.randint(1, 4)):
            requests.append(question + [rng.randrange(5) for _ in range(rng.randint(1, 40))])
    return pack(requests, max_tokens)


WINDOWS = st.sampled_from([None, 1, 3, 20, 200])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), WINDOWS)
def test_dense_masks_let_through_ancestors_within_the_window(seed: int, window: int | None) -> None:
    rows = random_rows(random.Random(seed), 100, 30)
    width = max(map(len, rows)) + 2
    mask = dense_mask(*padded(rows, width), window, torch.float32)
    assert mask.shape == (len(rows), 1, width, width)
    for row, found in zip(rows, mask[:, 0], strict=True):
        assert torch.equal(found == 0, allowed(row, width, window))
        assert torch.equal(found == float("-inf"), ~allowed(row, width, window))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), WINDOWS)
def test_block_masks_hold_every_pair_and_full_blocks_nothing_else(
    seed: int, window: int | None
) -> None:
    rows = random_rows(random.Random(seed), 1000, 400)
    width = padded_width(max(map(len, rows)))
    mask = block_mask(*padded(rows, width), window)
    assert mask.shape == (len(rows), 1, width, width)
    at = torch.arange(width)
    blocks = width // BLOCK
    for number, row in enumerate(rows):
        right = allowed(row, width, window)
        rule = mask.mask_mod(torch.tensor(number), torch.tensor(0), at[:, None], at[None, :])
        assert torch.equal(rule, right)
        tiles = right.view(blocks, BLOCK, blocks, BLOCK).transpose(1, 2)
        partly = listed(mask.kv_num_blocks[number, 0], mask.kv_indices[number, 0])
        whole = listed(mask.full_kv_num_blocks[number, 0], mask.full_kv_indices[number, 0])
        assert not (partly & whole).any()
        assert torch.equal(
            tiles.any(dim=-1).any(dim=-1) & ~(partly | whole), torch.zeros_like(whole)
        )
        assert tiles[whole].all()
        if window is None:
            # Nothing is visited in vain, and nothing masked that need not be.
            assert torch.equal(partly | whole, tiles.any(dim=-1).any(dim=-1))
            assert torch.equal(whole, tiles.all(dim=-1).all(dim=-1))


def listed(counts: Tensor, which: Tensor) -> Tensor:
    """Lists of blocks of keys as a table, ``[blocks of queries, blocks of keys]``."""
    table = torch.zeros((len(counts), which.shape[-1]), dtype=torch.bool)
    for query, count in enumerate(counts.tolist()):
        table[query, which[query, :count].long()] = True
    return table


@given(st.integers(1, 100_000))
def test_padded_widths_are_few_and_near(tokens: int) -> None:
    width = padded_width(tokens)
    assert width % BLOCK == 0
    assert tokens <= width < tokens + max(BLOCK, tokens / 8 + 1)
    assert padded_width(width) == width


def test_there_are_at_most_eight_widths_per_doubling() -> None:
    assert len({padded_width(tokens) for tokens in range(16385, 32769)}) == 8


# ------------------------------------------------------------------------ whole models


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """FlexAttention computed step by step: compiling takes half a minute on a CPU."""
    with torch.compiler.set_stance("force_eager"):
        yield


def long_requests() -> list[list[int]]:
    """Several blocks of tokens: one long question, and many short ones."""
    rng = random.Random(0)

    def tokens(count: int) -> list[int]:
        return [rng.randrange(3, VOCABULARY) for _ in range(count)]

    questions = [tokens(200), *(tokens(rng.randint(5, 20)) for _ in range(12))]
    return [question + tokens(rng.randint(1, 9)) for question in questions for _ in range(3)]


def logprobs(model: Any, kind: str | None, max_tokens: int) -> dict[int, Tensor]:
    requests = long_requests()
    rows = pack([ids[:-1] for ids in requests], max_tokens)
    queries = [[Query(0, requests[i][1:]) for i in row.requests] for row in rows]
    with torch.no_grad(), attention(model, kind):
        readings = PackedModel(model).read(rows, queries)
    order = [i for row in rows for i in row.requests]
    return {i: readings.logprobs[readings.owners == k] for k, i in enumerate(order)}


# Grouped queries, four heads and six, windows in all layers and in some, caps on the scores.
@pytest.mark.parametrize(
    "name", ["llama", "mistral, window", "qwen2, window", "gemma3", "phi", "gpt-neox"]
)
@pytest.mark.usefixtures("uncompiled")
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_equals_the_dense_mask(name: str) -> None:
    model = make(name, max_position_embeddings=512)
    dense = logprobs(model, None, 250)
    # One long row of several blocks, as on a GPU.
    flex = logprobs(model, FLEX, 4096)
    assert dense.keys() == flex.keys()
    for index, values in dense.items():
        torch.testing.assert_close(flex[index], values, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_with_a_number_of_heads_that_is_no_power_of_two() -> None:
    model = make(
        "llama",
        hidden_size=48,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=512,
    )
    dense, flex = logprobs(model, None, 250), logprobs(model, FLEX, 4096)
    for index, values in dense.items():
        torch.testing.assert_close(flex[index], values, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_compiled_flex_attention_equals_the_dense_mask() -> None:
    """The kernel that PyTorch generates goes by the lists of blocks, not by the rule alone."""
    model = make(
        "mistral, window", num_hidden_layers=1, max_position_embeddings=512, sliding_window=150
    )
    dense, flex = logprobs(model, None, 250), logprobs(model, FLEX, 4096)
    for index, values in dense.items():
        torch.testing.assert_close(flex[index], values, rtol=1e-4, atol=1e-4)


def test_attention_is_set_back() -> None:
    model = shared("llama")
    before = model.config._attn_implementation
    with contextlib.suppress(RuntimeError), attention(model, FLEX):
        assert model.config._attn_implementation == FLEX
        raise RuntimeError("out of memory, say")
    assert model.config._attn_implementation == before == "sdpa"


def test_attention_that_a_model_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match=FLEX), attention(shared("falcon"), FLEX):
        pass


@pytest.mark.parametrize("name", PACKABLE)
def test_windows_are_found_in_the_config(name: str) -> None:
    expected: Any = {"full_attention": None, "sliding_attention": WINDOW}
    if name in ("mistral, window", "phi3, window"):
        expected = WINDOW
    elif not any(kind in name for kind in ("window", "gemma2", "gemma3", "olmo3", "cohere2")):
        expected = None
    assert layer_windows(shared(name).config) == expected
