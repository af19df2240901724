"""Attention over packed pairs that computes little more than what is seen.

A packed row is a few chains of tokens: a prompt, then either response after it. With one mask over
the whole row every token meets every other, and most of those meetings are forbidden: prompts
would look ahead, one response at the other, and pairs at their neighbours in the row. Here each
chain's queries meet the keys of its own branch alone, by transformers' scaled dot-product
attention, chain by chain.

The chains travel with the attention mask, also when gradient checkpointing computes layers again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from bfpo_bench.engines.prefix.attention import carrying, register
from bfpo_bench.engines.prefix.packed import PackedModel
from bfpo_bench.engines.prefix.tree import Row

NAME = "packed_chains"
"""transformers' name for this attention."""

SHORT = 256
"""Tokens of a row up to which one mask over all of it is quicker than its chains one by one."""


@dataclass(frozen=True)
class Chains:
    """The chains of a row, in its order: runs of tokens without a branch.

    Attributes:
        sizes: tokens of each, padding last, ``[chains + 1]``.
        ancestors: for each chain those before it on its branch, as indices, ``[chains]``.
    """

    sizes: list[int]
    ancestors: list[list[int]]


@dataclass
class _Plan:
    rows: list[Chains]
    masks: dict[tuple[int, int, int | None], Tensor | None] = field(default_factory=dict)


def chains_of(row: Row, width: int) -> Chains:
    """Cuts a row into chains; `width` is its length with padding."""
    # A token that is its predecessor's only child ends where that ends.
    same = (row.ends[1:] == row.ends[:-1]) & (row.positions[1:] == row.positions[:-1] + 1)
    starts = [0, *(np.flatnonzero(~same) + 1).tolist()]
    sizes = np.diff([*starts, len(row), width]).tolist()
    # A branch is at a chain's end, so a chain is an ancestor as a whole.
    ends = row.ends[starts].tolist()
    ancestors = [[a for a in range(c) if ends[a] > start] for c, start in enumerate(starts)]
    return Chains(sizes, ancestors)


def use_chain_attention(model: Any) -> None:
    """Lets a model whose attention is plain SDPA compute packed rows chain by chain."""
    if model.config.get_text_config()._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


class ChainedModel(PackedModel):
    """A packed model whose rows are computed chain by chain where its attention can."""

    def _masks(self, rows: Sequence[Row], positions: Tensor, ends: Tensor) -> Any:
        width = positions.shape[1]
        if self.config._attn_implementation != NAME or width <= SHORT:
            return super()._masks(rows, positions, ends)
        plan = _Plan([chains_of(row, width) for row in rows])
        mask = carrying(plan, torch.empty(0, device=positions.device))
        return dict.fromkeys(self._windows, mask) if isinstance(self._windows, dict) else mask


def _attend(
    plan: _Plan,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: float,
    scaling: float | None,
    module: Any,
    sliding_window: int | None = None,
    **more: Any,
) -> Tensor:
    outputs = []
    for number, chains in enumerate(plan.rows):
        parts = [
            torch.split(x[number : number + 1], chains.sizes, dim=2) for x in (query, key, value)
        ]
        queries, keys, values = parts
        row = []
        for chain, before in enumerate(chains.ancestors):
            branch = [*before, chain]
            seen = torch.cat([keys[c] for c in branch], dim=2)
            carried = torch.cat([values[c] for c in branch], dim=2)
            mask = _mask(plan, queries[chain].shape[2], seen.shape[2], sliding_window, query.device)
            output, _ = sdpa_attention_forward(
                module,
                queries[chain],
                seen,
                carried,
                mask,
                dropout=dropout,
                scaling=scaling,
                is_causal=mask is None,
            )
            row.append(output)
        padding = queries[-1].transpose(1, 2)
        outputs.append(torch.cat([*row, torch.zeros_like(padding, dtype=row[0].dtype)], dim=1))
    return torch.cat(outputs)


def _mask(
    plan: _Plan, queries: int, keys: int, window: int | None, device: torch.device
) -> Tensor | None:
    """What the last `queries` tokens of a branch of `keys` see; None where plain causal says it."""
    if window is not None and window >= keys:
        window = None
    if queries == keys and window is None:
        return None
    asked = (queries, keys, window)
    if asked not in plan.masks:
        at = torch.arange(keys - queries, keys, device=device)[:, None]
        key = torch.arange(keys, device=device)[None]
        seen = key <= at
        if window is not None:
            seen &= at - key < window
        plan.masks[asked] = seen[None, None]
    return plan.masks[asked]


register(NAME, _attend)
