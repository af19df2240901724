"""Which tokens of a packed row see which, in the forms that attention kernels take.

A token sees its ancestors and itself: key k and query q with ``k <= q < ends[k]``
(:mod:`bfpo_bench.engines.packing`). Padding is a token whose subtree is itself alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


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
