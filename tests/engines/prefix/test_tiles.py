"""Tiles against the rule for every pair of tokens, and whole models against dense masks."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bfpo_bench.engines.prefix.attention import TILES
from bfpo_bench.engines.prefix.self_check import packing_fault
from bfpo_bench.engines.prefix.tiles import tile_mask
from tests.engines.architectures import PACKABLE, make, shared
from tests.engines.prefix.test_attention import WINDOWS, allowed, logprobs, padded, random_rows


def seen(mask: Tensor, tokens: int) -> Tensor:
    """Which tokens see which by the tiles of a mask, ``[tokens, tokens]``."""
    plan = mask.plan  # type: ignore[attr-defined]
    queries = torch.cat([part.queries.flatten() for part in plan.parts])
    # What a layer puts together again is every token once, in order.
    assert queries[plan.back].tolist() == list(range(tokens))
    found = torch.zeros((tokens, tokens), dtype=torch.long)
    for part in plan.parts:
        for query, key, sees in zip(part.queries, part.keys, part.mask[:, 0] == 0, strict=True):
            rows = {int(token): row for token, row in zip(query, sees, strict=True)}
            for token, row in rows.items():
                found[token].index_add_(0, key, row.long())
    assert int(found.max()) == 1, "a key counts once"
    return found.bool()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), WINDOWS, st.integers(20, 300))
def test_tiles_let_through_ancestors_within_the_window(
    seed: int, window: int | None, max_tokens: int
) -> None:
    rows = random_rows(random.Random(seed), max_tokens, 90)
    width = max(map(len, rows)) + 2
    found = seen(tile_mask(*padded(rows, width), window, torch.float32), width * len(rows))
    right = torch.block_diag(*(allowed(row, width, window) for row in rows)).bool()
    assert torch.equal(found, right)


# Grouped queries, windows in all layers and in some, caps on the scores, learned positions.
@pytest.mark.parametrize(
    "name",
    ["llama", "mistral, window", "qwen2, window", "gemma2", "gemma3", "phi", "gpt-neox", "gpt2"],
)
def test_tiles_equal_the_dense_mask(name: str) -> None:
    room = "n_positions" if name == "gpt2" else "max_position_embeddings"
    model = make(name, **{room: 512})
    dense = logprobs(model, None, 250)
    tiles = logprobs(model, TILES, 4096)
    assert dense.keys() == tiles.keys()
    for index, values in dense.items():
        torch.testing.assert_close(tiles[index], values, rtol=1e-4, atol=1e-4)


def test_several_rows_at_once() -> None:
    model = make("llama", max_position_embeddings=512)
    together, apart = logprobs(model, TILES, 300), logprobs(model, None, 300)
    for index, values in apart.items():
        torch.testing.assert_close(together[index], values, rtol=1e-4, atol=1e-4)


ELSEWHERE = {"gpt-j", "falcon"}
"""Models of transformers whose layers choose their attention themselves."""


@pytest.mark.parametrize("name", PACKABLE)
def test_models_of_today_are_packed_in_tiles(name: str) -> None:
    fault = packing_fault(shared(name), TILES)
    assert (fault is None) == (name not in ELSEWHERE), fault


def test_attention_of_its_own_is_not_replaced() -> None:
    """Eager attention may do what SDPA does not (caps, sinks), so it is left alone."""
    model = make("gemma2")
    model.set_attn_implementation("eager")
    fault = packing_fault(model, TILES)
    assert fault is not None
    assert TILES in fault
