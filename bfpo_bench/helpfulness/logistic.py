"""L1-regularised logistic regression with fractional labels, many fits at once.

One fit minimises over the coefficients w

    Σ_i s_i · [log(1 + exp(x_i·w)) − p_i · x_i·w]  +  λ · Σ_k |w_k|

with features x_i, labels p_i in [0, 1] and weights s_i ≥ 0: what liblinear minimises with
C = 1/λ. Fits share nothing but their shape, so cross-validation and a bootstrap are one call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEPS = 200
"""Newton steps at most; from 0 about fifteen are the rule, from a good start four."""

SWEEPS = 100
"""Coordinate sweeps at most in the quadratic problem of one Newton step."""

LONGEST_STEP = 1.0
"""A step changes no x_i·w by more. The curvature then grows by less than a factor of e on the way,
and a proximal Newton step always goes down: no line search is needed."""


def sigmoid(z: Any) -> Floats:
    """1 / (1 + exp(−z)), without overflow."""
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(np.asarray(z) >= 0, 1.0, small) / (1 + small), dtype=float)


def log_loss(z: Floats, labels: Floats) -> Floats:
    """−p·log σ(z) − (1 − p)·log(1 − σ(z)), without overflow."""
    return np.asarray(np.logaddexp(0, z) - labels * z)


def fit_logistic(
    features: Floats,
    labels: Floats,
    weights: Floats,
    penalty: Floats,
    start: Floats | None = None,
    tolerance: float = 1e-9,
) -> Floats:
    """Coefficients of some fits, by proximal Newton steps.

    Args:
        features: x, [coefficients, fits or 1, rows].
        labels: p, [rows].
        weights: s, [fits, rows]; 0 leaves a row out.
        penalty: λ, [fits], above 0: separable data then has a minimum too.
        start: w to begin with, [coefficients]; default 0.
        tolerance: the fits are done when no coefficient moves by more.

    Returns:
        w, [coefficients, fits].
    """
    count, fits = len(features), len(weights)
    w = np.zeros((count, fits)) if start is None else np.repeat(start[:, None], fits, axis=1)
    pulled = np.einsum("kfr,fr->kf", features, weights * labels, optimize=True)
    for _ in range(STEPS):
        probability = sigmoid(_scores(features, w))
        slope = weights * probability
        gradient = np.einsum("kfr,fr->kf", features, slope, optimize=True) - pulled
        step = _proximal(gradient, _curvature(features, slope * (1 - probability)), w, penalty) - w
        longest = np.abs(_scores(features, step)).max(axis=1)
        w = w + step * np.minimum(1, LONGEST_STEP / np.maximum(longest, 1e-300))
        if np.abs(step).max() <= tolerance:
            break
    return w


def _scores(features: Floats, w: Floats) -> Floats:
    """x·w: [fits, rows]."""
    found = np.zeros((1, 1))
    for x, coefficient in zip(features, w, strict=True):
        found = found + x * coefficient[:, None]
    return found


def _curvature(features: Floats, weights: Floats) -> Floats:
    """Σ_i weights_i x_i x_iᵀ: [coefficients, coefficients, fits]."""
    count = len(features)
    found = np.empty((count, count, len(weights)))
    for j in range(count):
        weighted = features[j] * weights
        for k in range(j, count):
            found[j, k] = found[k, j] = (weighted * features[k]).sum(axis=1)
        # Where all probabilities are 0 or 1 nothing curves, and the penalty decides.
        found[j, j] += 1e-10
    return found


def _proximal(gradient: Floats, curvature: Floats, w: Floats, penalty: Floats) -> Floats:
    """Minimum of the quadratic model around w plus the L1 term, by coordinate descent."""
    new = w.copy()
    for _ in range(SWEEPS):
        before = new.copy()
        for k in range(len(w)):
            slope = gradient[k] + (curvature[k] * (new - w)).sum(axis=0)
            aim = new[k] - slope / curvature[k, k]
            new[k] = np.sign(aim) * np.maximum(np.abs(aim) - penalty / curvature[k, k], 0)
        if np.abs(new - before).max() < 1e-12:
            break
    return new
