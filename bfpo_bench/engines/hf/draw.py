"""Sampling in which chance belongs to the request, not to the batch.

Each request brings a seed. Its draws u₁, u₂, … are uniform numbers from that seed alone, and the
token of step t is the one at which the cumulative distribution passes uₜ. Which other requests
are in the batch, and how many were answered before, then makes no difference beyond the rounding
of the logits themselves. The distribution is walked in vocabulary order rather than by falling
probability: two nearly equal probabilities that swap places by a rounding would otherwise swap
the token as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bfpo_bench.common.sampling import Sampling


def uniform_draws(seeds: Sequence[int], steps: int) -> torch.Tensor:
    """Draws for each request, float64 ``[requests, steps]`` in ``[0, 1)``, on the CPU."""
    rows = [
        torch.rand(steps, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed in seeds
    ]
    return torch.stack(rows)


def truncated_distribution(logits: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Probabilities at a temperature, restricted to the nucleus of mass `top_p`.

    The nucleus is the smallest set of most probable tokens whose mass reaches `top_p`
    (Holtzman et al. 2020); it always holds the most probable token.

    Args:
        logits: ``[batch, vocabulary]``.

    Returns:
        float32 ``[batch, vocabulary]``; rows do not sum to 1 when `top_p` < 1.
    """
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    if top_p >= 1.0:
        return probabilities
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    ordered = ordered.masked_fill(before >= top_p, 0.0)
    return torch.zeros_like(probabilities).scatter(-1, order, ordered)


def pick(logits: torch.Tensor, draws: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The next token of each row.

    Args:
        logits: ``[batch, vocabulary]``.
        draws: uniform numbers, ``[batch]``.

    Returns:
        token ids, int64 ``[batch]``.
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = truncated_distribution(logits, sampling.temperature, sampling.top_p)
    # float64 keeps the sum over a large vocabulary exact enough; MPS has no float64.
    wide = torch.float32 if logits.device.type == "mps" else torch.float64
    cumulative = probabilities.to(wide).cumsum(dim=-1)
    target = draws.to(device=logits.device, dtype=wide) * cumulative[:, -1]
    # right=True: the first token whose cumulative mass is *above* the target, so that a token
    # of probability zero is never taken.
    tokens = torch.searchsorted(cumulative, target.unsqueeze(-1), right=True).squeeze(-1)
    return tokens.clamp_(max=logits.shape[-1] - 1)
