"""Losses that weigh safety in the pair itself: SafeDPO, BSO and the experts of MidPO.

With ``h`` the pair's log-ratio and ``s`` 1 for an unsafe response, else 0. SafeDPO and BSO are for
pairs of the rule ``safedpo`` (the paper's ``T(D)``), which puts a safe response before an unsafe
one and leaves out pairs of two unsafe ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.pairwise.losses import PairLogps, not_negative, positive

LARGEST_EXPONENT = 80.0
"""Of e in single precision, with some room."""

GENERATORS = ("sba", "logistic")


def safedpo(logps: PairLogps, *, beta: float = 0.1, delta: float = 10.0) -> Tensor:
    """SafeDPO: Kim et al. 2025 (arXiv 2505.20065), Eq. 12: ``-log σ(βh - Δ(s_l - s_w))``.

    Where the loser alone is unsafe the log-ratio has to be Δ/β larger; elsewhere it is DPO. The
    equation is known to us by a published reimplementation that names it; of the paper itself we
    could read the beginning. No code of the authors is public.

    Args:
        logps: the batch, with safety labels.
        beta: strength of the pull towards the reference model.
        delta: Δ, the margin between a safe response and an unsafe one; 0 makes it DPO.

    Raises:
        BadInput: a parameter out of range, or a pair without safety labels.
    """
    positive("beta", beta)
    return -logsigmoid(beta * logps.log_ratio - _margin(logps, "safedpo", "delta", delta))


def bso(
    logps: PairLogps,
    *,
    beta: float = 0.1,
    penalty: float = 30.0,
    generator: str = "sba",
    power: float = 0.2,
    scale: float = 4.0,
    limit: float = 30.0,
) -> Tensor:
    """Bregman safety optimisation: Nguyen et al. 2026 (arXiv 2605.12339), Eq. 14 and 23.

    The ratio of the model is ``log R = -(βh - C(s_l - s_w))`` (Eq. 12), and a convex generator g
    gives the loss ``g'(R) R - g(R) - g'(1/R)``. Scaled Basu's power divergence (``sba``),
    ``g = (R^{1+λ} - R) / (κλ(λ+1))``, gives
    ``[λR^{1+λ} - (1+λ)R^{-λ} + 1] / (κλ(λ+1))``, of slope ``(R^{1+λ} + R^{-λ}) / κ`` in log R; the
    ``logistic`` one, ``g = [R log R - (1+R) log(1+R)] / 2``, gives SafeDPO with Δ = C. The closed
    forms were derived here again (docs/losses.md, tests); equations and defaults are known to us by
    a published reimplementation that names them.

    Args:
        logps: the batch, with safety labels.
        beta: strength of the pull towards the reference model.
        penalty: C, the margin between a safe response and an unsafe one.
        generator: ``sba`` or ``logistic``.
        power: λ of sba.
        scale: κ of sba; at 4 a pair of ratio 1 has DPO's slope, whatever λ.
        limit: of sba. Below -limit the loss is level, as the authors are said to cut log R; above
            it goes on along its tangent (theirs is level there as well, which would never move a
            pair that lies beyond).

    Raises:
        BadInput: a parameter out of range, or a pair without safety labels.
    """
    positive("beta", beta)
    log_r = _margin(logps, "bso", "penalty", penalty) - beta * logps.log_ratio
    if generator not in GENERATORS:
        raise BadInput(f"generator must be {' or '.join(GENERATORS)}, not {generator!r}.")
    if generator == "logistic":
        return -logsigmoid(-log_r)
    positive("power", power)
    positive("scale", scale)
    if positive("limit", limit) * (1 + power) > LARGEST_EXPONENT:
        raise BadInput(
            f"limit must be at most {LARGEST_EXPONENT / (1 + power):g} with a power of {power:g}, "
            f"not {limit:g}: the loss grows with e to the {1 + power:g} times that."
        )
    held = log_r.clamp(-limit, limit)
    # As e^x - 1, because for a small power the terms all but cancel.
    upper = torch.expm1((1 + power) * held) / (scale * (1 + power))
    lower = torch.expm1(-power * held) / (scale * power)
    slope = (math.exp((1 + power) * limit) + math.exp(-power * limit)) / scale
    return upper - lower + slope * (log_r - limit).relu()


def midpo(logps: PairLogps, *, beta: float = 0.1) -> Tensor:
    """An expert of MidPO: Qi et al. 2025 (arXiv 2506.02460): ``-log σ(βh - max(0, m))``.

    m is the winner's reward less the loser's by the model of the expert's own objective: pairs by
    ``safe`` and a safety reward make the safety expert, pairs by ``helpful`` and a helpfulness
    reward the other. The authors' code does so (OutdoorManofML/MidPO, ``mdpo_safety_expert`` and
    ``mdpo_helpfulness_expert``); its safety model tells *costs* c, which makes it
    ``-log σ(βh + min(0, c_w - c_l))`` there. A margin against the pair's order counts as 0.

    Args:
        logps: the batch, with margins.
        beta: strength of the pull towards the reference model.

    Raises:
        BadInput: a parameter out of range, or data without margins.
    """
    positive("beta", beta)
    return -logsigmoid(beta * logps.log_ratio - logps.margins("midpo").relu())


def _margin(logps: PairLogps, loss: str, name: str, size: float) -> Tensor:
    """``size · (s_l - s_w)``: the size where only the loser is unsafe, minus it the other way."""
    not_negative(name, size)
    chosen, rejected = (safe.to(logps.chosen.dtype) for safe in logps.safety(loss))
    return size * (chosen - rejected)
