"""Attention over packed rows that computes little more than what is seen, for CPUs.

A row of many trees is mostly pairs of tokens that do not see each other, and a dense mask computes
them all. Here the row is cut into tiles of neighbouring tokens. In depth-first order all that a
tile's tokens may see is the tile itself and the ancestors of its first token, so each tile's
queries meet those keys alone. Rows can then be as long as a whole batch: nothing is padded, and a
beginning is computed again only where one batch ends and the next begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from bfpo_bench.engines.prefix.attention import TILES, carrying, register
from bfpo_bench.engines.prefix.tree import IntArray

TILE = 32
"""Tokens of a tile: fewer make smaller products, more make more pairs that see nothing."""

SIMILAR = 0.75
"""Tiles are computed together when the fewest keys are this share of the most, or more."""


@dataclass(frozen=True)
class Tiles:
    """Tiles that are computed together.

    Attributes:
        queries: places of their tokens in the batch, ``[tiles, TILE]``; a last tile that is not
            full repeats its last token.
        keys: places of the keys that they meet, ``[tiles, keys]``.
        mask: 0 where a token may look and -inf elsewhere, ``[tiles, 1, TILE, keys]``.
    """

    queries: Tensor
    keys: Tensor
    mask: Tensor


@dataclass(frozen=True)
class _Plan:
    """All tiles of a batch; token t of it is number ``back[t]`` of what they give, in order."""

    parts: list[Tiles]
    back: Tensor


def tile_mask(positions: Tensor, ends: Tensor, window: int | None, dtype: torch.dtype) -> Tensor:
    """The tiles of a batch, on a tensor that layers hand on as a mask.

    Args:
        positions: depth of each token, ``[rows, tokens]``.
        ends: one past the end of each token's subtree, ``[rows, tokens]``.
        window: most recent tokens of its own branch that a token sees, itself included.
        dtype: of the model's activations.
    """
    width = ends.shape[1]
    starts = np.arange(len(ends))[:, None] * width
    depths, last = positions.numpy().ravel(), (ends.numpy() + starts).ravel()
    return carrying(_plan(depths, last, window, dtype), torch.empty(0, dtype=dtype))


def _plan(depths: IntArray, ends: IntArray, window: int | None, dtype: torch.dtype) -> _Plan:
    count = len(ends)
    seen_by = []
    for begin in range(0, count, TILE):
        ancestors = np.flatnonzero(ends[:begin] > begin)
        seen_by.append(np.concatenate([ancestors, np.arange(begin, min(begin + TILE, count))]))
    parts = []
    back = np.empty(count, dtype=np.int64)
    done = 0
    for together in _similar([len(keys) for keys in seen_by]):
        queries = np.minimum(np.asarray(together)[:, None] * TILE + np.arange(TILE), count - 1)
        # Tiles with fewer keys repeat some, which their mask hides.
        most = max(len(seen_by[tile]) for tile in together)
        keys = np.stack([np.resize(seen_by[tile], most) for tile in together])
        real = np.arange(most) < np.array([len(seen_by[tile]) for tile in together])[:, None]
        query, key = queries[:, :, None], keys[:, None, :]
        sees = (key <= query) & (query < ends[key]) & real[:, None, :]
        if window is not None:
            # Along a branch the difference of depths is the distance in the request.
            sees &= depths[query] - depths[key] < window
        mask = torch.zeros(sees.shape, dtype=dtype)
        mask.masked_fill_(torch.from_numpy(~sees), float("-inf"))
        parts.append(Tiles(torch.from_numpy(queries), torch.from_numpy(keys), mask[:, None]))
        # A token that a tile repeats is taken from where it stands last; all give the same.
        back[queries.ravel()] = np.arange(done, done + queries.size)
        done += queries.size
    return _Plan(parts, torch.from_numpy(back))


def _similar(sizes: list[int]) -> list[list[int]]:
    """Numbers of tiles in groups of similar sizes."""
    groups: list[list[int]] = []
    for tile in sorted(range(len(sizes)), key=lambda tile: (-sizes[tile], tile)):
        if not groups or sizes[tile] < SIMILAR * sizes[groups[-1][0]]:
            groups.append([])
        groups[-1].append(tile)
    return groups


def _attend(
    plan: _Plan,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: float,
    scaling: float | None,
    **more: Any,
) -> Tensor:
    rows, heads, tokens, _ = query.shape
    shared = key.shape[1]  # heads of keys, each for several of queries
    queries, keys, values = (x.transpose(1, 2).flatten(0, 1) for x in (query, key, value))
    given = []
    for part in plan.parts:
        tiles, size = part.queries.shape
        # Queries that share a head of keys stand below each other: [tiles, heads, queries, size].
        asked = queries[part.queries].view(tiles, size, shared, heads // shared, -1)
        output = scaled_dot_product_attention(
            asked.permute(0, 2, 3, 1, 4).flatten(2, 3),
            keys[part.keys].transpose(1, 2),
            values[part.keys].transpose(1, 2),
            attn_mask=part.mask.repeat(1, 1, heads // shared, 1),
            dropout_p=dropout,
            scale=scaling,
        )
        output = output.view(tiles, shared, heads // shared, size, -1).permute(0, 3, 1, 2, 4)
        given.append(output.reshape(tiles * size, heads, -1))
    return torch.cat(given)[plan.back].view(rows, tokens, heads, -1)


register(TILES, _attend)
