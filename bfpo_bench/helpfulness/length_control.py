"""AlpacaEval 2's length-controlled win rate (Dubois et al. 2024, arXiv 2404.04475), an own fit.

Annotators like long answers. The metric asks what the win rate would be if the model's answers
were as long as the reference's. A logistic regression describes the preference for the model on
instruction i,

    P(model wins on i) = σ(θ + φ·γ_i + ψ·tanh(d_i / sd(d)))                             (Eq. 2)

with the model's strength θ, how much it suffers (φ) from the instruction's difficulty γ_i, which is
known beforehand, and its length effect ψ; d_i is the reference's length less the model's in
characters and sd(d) its sample standard deviation. The win rate at equal length is the mean of
σ(θ + φ·γ_i) over all instructions.

Labels are the annotator's preferences from 0 to 1. So that a model cannot buy itself a favourable
ψ, 2 × 805 annotations of *gamed baselines* (the reference model asked to be verbose, and to be
concise) are fitted along with weight 0.1 each and θ = 0. An L1 penalty λ = 1/C on all three
coefficients completes it; C is the best of ten by five-fold cross-validation. This is the model
``length_controlled_v1`` of alpaca_eval 0.6.6, whose own code fits it by scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

GAMED_WEIGHT = 0.1
"""Weight of a gamed baselines' annotation: 0.2 over the two of them."""

STRENGTHS = np.logspace(-4, 4, 10)
"""The values of C that are tried."""

FOLDS = 5

REPLICATES = 1000
"""Bootstrap samples of an interval."""

_AT_ONCE = 100
"""Bootstrap samples that are fitted at once: bounds memory to some 50 MB."""


@dataclass(frozen=True)
class Gamed:
    """Annotations of gamed baselines.

    Attributes:
        length: tanh of the standardised length difference, [rows].
        difficulty: γ of the instruction, [rows].
        preference: for the gamed baseline, from 0 to 1, [rows].
    """

    length: Floats
    difficulty: Floats
    preference: Floats


@dataclass(frozen=True)
class Comparisons:
    """What a fit needs of one model's annotations, in the order of the instructions.

    Attributes:
        preference: for the model, from 0 to 1; NaN where the annotator gave no usable answer.
        length_difference: reference less model, in characters.
        difficulty: γ; None where it is not known: the term φ·γ is then left out.
    """

    preference: Floats
    length_difference: Floats
    difficulty: Floats | None


@dataclass(frozen=True)
class LengthControl:
    """A fit.

    Attributes:
        length: ψ.
        difficulty: φ; 0 where the difficulties are not known.
        model: θ.
        strength: C of the L1 penalty.
        win_rate: length-controlled, in percent.
    """

    length: float
    difficulty: float
    model: float
    strength: float
    win_rate: float


def fit_length_control(comparisons: Comparisons, gamed: Gamed | None = None) -> LengthControl:
    """Fits the model.

    Args:
        comparisons: with at least ten usable preferences.
        gamed: without it the length effect is regularised by the L1 penalty alone; of no use
            where the difficulties are not known.

    Raises:
        ValueError: too few usable preferences.
    """
    usable = ~np.isnan(comparisons.preference)
    if usable.sum() < 2 * FOLDS:
        raise ValueError(f"{usable.sum()} usable preferences are too few to fit")
    rows = _design(comparisons, gamed, np.ones((1, len(usable))))
    strength = _choose_strength(rows)
    w = fit_logistic(*rows, np.array([1 / strength]))
    win_rate = _controlled(w, comparisons.difficulty, np.ones((1, len(usable))))
    length, difficulty, model = (float(coefficient) for coefficient in w[:, 0])
    return LengthControl(length, difficulty, model, strength, float(win_rate[0]))


def bootstrap_length_control(
    comparisons: Comparisons, gamed: Gamed | None, fit: LengthControl, weights: Floats
) -> Floats:
    """Length-controlled win rates in percent of refits to resampled instructions.

    Each sample is fitted anew: standardised by its own lengths, averaged over its own
    instructions. Only C is kept, which hardly moves a fit (tests compare with refits that choose
    it anew). The gamed baselines are given knowledge and are not resampled.

    Args:
        fit: to all instructions.
        weights: weight of each instruction in each sample, [samples, instructions]; giving two
            models the same ones makes their comparison a paired one.

    Returns:
        [samples].
    """
    found = []
    start = np.array([fit.length, fit.difficulty, fit.model])
    for first in range(0, len(weights), _AT_ONCE):
        drawn = weights[first : first + _AT_ONCE]
        penalty = np.full(len(drawn), 1 / fit.strength)
        w = fit_logistic(*_design(comparisons, gamed, drawn), penalty, start, tolerance=1e-5)
        found.append(_controlled(w, comparisons.difficulty, drawn))
    return np.concatenate(found)


class _Design(NamedTuple):
    """The rows of some regressions: the model's, then the gamed ones."""

    features: Floats  # [3, regressions, rows]: length, difficulty, model
    labels: Floats  # [rows]
    weights: Floats  # [regressions, rows]


def _design(comparisons: Comparisons, gamed: Gamed | None, counts: Floats) -> _Design:
    spread = _spread(comparisons.length_difference, counts)
    # Where all differences are equal there is no length effect to be seen.
    lengths = np.tanh(comparisons.length_difference / np.where(spread > 0, spread, np.inf)[:, None])
    known = 0.0 if comparisons.difficulty is None else comparisons.difficulty
    ones = np.ones_like(lengths)
    features = np.stack([lengths, known * ones, ones])
    usable = ~np.isnan(comparisons.preference)
    labels, weights = np.where(usable, comparisons.preference, 0.0), counts * usable
    if gamed is None:
        return _Design(features, labels, weights)
    others = np.stack([gamed.length, gamed.difficulty, np.zeros_like(gamed.length)])[
        :, None
    ].repeat(len(counts), axis=1)
    return _Design(
        np.concatenate([features, others], axis=2),
        np.concatenate([labels, gamed.preference]),
        np.concatenate([weights, np.full(others.shape[1:], GAMED_WEIGHT)], axis=1),
    )


def _choose_strength(rows: _Design) -> float:
    """The C with the smallest held-out log loss, weighted as in the fit."""
    held_out = np.arange(len(rows.labels)) % FOLDS == np.arange(FOLDS)[:, None]
    held_out = np.tile(held_out, (len(STRENGTHS), 1))
    penalty = np.repeat(1 / STRENGTHS, FOLDS)
    trained = np.where(held_out, 0.0, rows.weights)
    w = fit_logistic(rows.features, rows.labels, trained, penalty, tolerance=1e-6)
    scores = np.einsum("kf,kr->fr", w, rows.features[:, 0])
    loss = np.where(held_out, rows.weights, 0.0) * log_loss(scores, rows.labels)
    return float(STRENGTHS[loss.reshape(len(STRENGTHS), -1).sum(axis=1).argmin()])


def _spread(values: Floats, counts: Floats) -> Floats:
    """Sample standard deviation (n − 1) of each bootstrap sample, whose weights sum to n."""
    total = counts.sum(axis=1)
    mean = counts @ values / total
    squares = (counts * (values - mean[:, None]) ** 2).sum(axis=1)
    return np.asarray(np.sqrt(squares / (total - 1)))


def _controlled(w: Floats, difficulty: Floats | None, counts: Floats) -> Floats:
    """Mean of σ(θ + φ·γ) over the instructions drawn, in percent: [regressions]."""
    _, effect, model = w
    if difficulty is None:
        return 100 * sigmoid(model)
    chances = sigmoid(model[:, None] + effect[:, None] * difficulty)
    return np.asarray(100 * (counts * chances).sum(axis=1) / counts.sum(axis=1))


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
    """L1-regularised logistic regressions with fractional labels, many at once, by proximal Newton
    steps: fits share nothing but their shape, so cross-validation and a bootstrap are one call.

    One fit minimises over the coefficients w what liblinear minimises with C = 1/λ,

        Σ_i s_i · [log(1 + exp(x_i·w)) − p_i · x_i·w]  +  λ · Σ_k |w_k|

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
