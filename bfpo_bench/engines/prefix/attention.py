"""Which tokens of a packed row see which, in the forms that attention kernels take.

A token sees its ancestors and itself: key k and query q with ``k <= q < ends[k]``
(:mod:`bfpo_bench.engines.prefix.tree`). Padding is a token whose subtree is itself alone.

Where a model's attention takes nothing else, that is a dense mask for scaled dot-product
attention. On a GPU it is a block mask for FlexAttention, which skips pairs of blocks where nobody
sees anybody: separate trees in one row then cost nothing, however long the row. On a CPU
:mod:`bfpo_bench.engines.prefix.tiles` does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

FLEX = "flex_attention"
"""transformers' name for FlexAttention."""

TILES = "packed_tiles"
"""transformers' name for attention in tiles, :mod:`bfpo_bench.engines.prefix.tiles`."""

BLOCK = 128
"""Tokens in a block of FlexAttention."""


def layer_windows(config: Any) -> dict[str, int | None] | int | None:
    """The sliding windows of a model's layers, in tokens; None where attention is full.

    Args:
        config: text config of a transformers model.

    Returns:
        a dictionary by kind of layer where a model has several kinds, which is also the form in
        which such models take their masks; else the one window of all layers.
    """
    kinds = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None)
    if "sliding_attention" in kinds:
        return {"full_attention": None, "sliding_attention": window}
    return None if kinds else window


def dense_mask(positions: Tensor, ends: Tensor, window: int | None, dtype: torch.dtype) -> Tensor:
    """0 where a token may look and -inf elsewhere, to be added to attention scores.

    Args:
        positions: depth of each token, ``[rows, tokens]``.
        ends: one past the end of each token's subtree, ``[rows, tokens]``.
        window: most recent tokens of its own branch that a token sees, itself included.
        dtype: of the model's activations.

    Returns:
        ``[rows, 1, tokens (queries), tokens (keys)]``.
    """
    at = torch.arange(ends.shape[1], device=ends.device)
    query, key = at[:, None], at[None, :]
    seen = (key <= query) & (query < ends[:, None, :])
    if window is not None:
        # Along a branch the difference of depths is the distance in the request.
        seen &= positions[:, :, None] - positions[:, None, :] < window
    mask = torch.zeros(seen.shape, dtype=dtype, device=ends.device)
    return mask.masked_fill_(~seen, float("-inf"))[:, None]


def block_mask(positions: Tensor, ends: Tensor, window: int | None) -> BlockMask:
    """The same for FlexAttention.

    Subtrees are intervals, so the extremes of a block's `ends` tell which blocks of queries see
    some of its keys and which see all: no mask of tokens × tokens exists.

    Args:
        positions, ends, window: as for :func:`dense_mask`; tokens a multiple of :data:`BLOCK`.

    Returns:
        a mask of shape ``[rows, 1, tokens (queries), tokens (keys)]``.
    """
    rows, tokens = ends.shape
    number = torch.arange(tokens // BLOCK, device=ends.device)
    query, key = number[:, None], number[None, :]
    lowest, highest = ends.view(rows, 1, -1, BLOCK).aminmax(dim=-1)
    seen = (key < query) & (highest > query * BLOCK)
    whole = (key < query) & (lowest >= (query + 1) * BLOCK)
    if window is not None:
        shallow, deep = positions.view(rows, -1, BLOCK).aminmax(dim=-1)
        seen &= shallow[:, :, None] - deep[:, None, :] < window
        whole &= deep[:, :, None] - shallow[:, None, :] < window
    partly = (seen & ~whole) | (key == query)

    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < ends[row, key])

    def sees_nearby(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        assert window is not None
        near = positions[row, query] - positions[row, key] < window
        return sees(row, head, query, key) & near

    mask: BlockMask = BlockMask.from_kv_blocks(
        *_listed(partly),
        *_listed(whole),
        BLOCK_SIZE=BLOCK,
        mask_mod=sees if window is None else sees_nearby,
        seq_lengths=(tokens, tokens),
    )
    return mask


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks of keys each block of queries has, and which, those first.

    Args:
        blocks: booleans ``[rows, queries, keys]``.
    """
    which = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(dim=-1).int()[:, None], which.int()[:, None]


def padded_width(tokens: int) -> int:
    """Tokens of a row for FlexAttention: whole blocks, and at most an eighth more than needed.

    Kernels are compiled for the shapes that they meet; so there are few.
    """
    step = max(BLOCK, 1 << max(0, tokens.bit_length() - 4))
    return -(-tokens // step) * step


@contextmanager
def attention(model: Any, kind: str | None) -> Iterator[None]:
    """Lets a model compute attention in another way for a while.

    Args:
        kind: transformers' name, e.g. :data:`FLEX`; None leaves everything as it is.

    Raises:
        ValueError: the model has no such attention.
    """
    if kind is None:
        yield
        return
    before = model.config._attn_implementation
    if kind == TILES and before != "sdpa":
        # Another attention may do what SDPA does not: cap its scores, say, or add sinks.
        raise ValueError(f"{before} attention is not computed as {kind}")
    model.set_attn_implementation(kind)
    try:
        if model.config.get_text_config()._attn_implementation != kind:
            raise ValueError(f"it has no {kind}")
        yield
    finally:
        model.set_attn_implementation(before)


def carrying(plan: Any, like: Tensor) -> Tensor:
    """A mask that holds nothing but a plan for an attention of ours: layers hand it on as it is."""
    mask = like.new_zeros(1, 1, 1, 1)
    mask.plan = plan  # type: ignore[attr-defined]
    return mask


def register(name: str, attend: Callable[..., Tensor]) -> None:
    """Makes an attention of ours known to transformers.

    Args:
        name: what transformers is to call it.
        attend: ``attend(plan, query, key, value, dropout=…, scaling=…, module=…, **more)``, with
            the plan that the mask carries and ``[rows, heads, tokens, size]`` of one layer; gives
            ``[rows, tokens, heads, size]``. Masks without a plan go to transformers' own.
    """

    def forward(
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        dropout: float = 0.0,
        scaling: float | None = None,
        **more: Any,
    ) -> tuple[Tensor, None]:
        more |= {"dropout": dropout, "scaling": scaling}
        plan = getattr(attention_mask, "plan", None)
        if plan is not None:
            return attend(plan, query, key, value, module=module, **more), None
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **more
        )
        return found

    AttentionInterface.register(name, forward)
    AttentionMaskInterface.register(name, sdpa_mask)
