"""The gamed baselines of AlpacaEval 2's length control: read from its file, or rebuilt.

alpaca_eval regularises every fit with annotations of two gamed baselines, the reference model asked
to be verbose and to be concise, which it downloads (``df_gamed.csv``). Where that file cannot be
had, what it tells a fit can be rebuilt from published numbers. A logistic likelihood depends on the
labels p only through Σ x·p, and there the labels may be replaced by the fitted chances σ(x·w),
since a fit makes both sums equal (up to its L1 penalty). The gamed baselines' own coefficients w
are published. What remains unknown is their length feature: the length differences are taken as
normal, with the mean that the leaderboard gives, and with the one spread that makes the mean of
σ(x·w) the published raw win rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from bfpo_bench.helpfulness.length_control import Floats, Gamed, sigmoid

GAMED_BASELINES = ("gpt4_1106_preview_verbose", "gpt4_1106_preview_concise")


@dataclass(frozen=True)
class Published:
    """A model on AlpacaEval 2's leaderboard.

    Attributes:
        length, difficulty, model: its coefficients ψ, φ and θ.
        win_rate: raw, in percent.
        mean_length: of its outputs, in characters.
    """

    length: float
    difficulty: float
    model: float
    win_rate: float
    mean_length: float

    def chances(self, length: Floats, difficulty: Floats) -> Floats:
        """P(model wins) for length features and difficulties."""
        return sigmoid(self.length * length + self.difficulty * difficulty + self.model)

    def controlled(self, difficulty: Floats) -> float:
        """Length-controlled win rate in percent."""
        return float(100 * self.chances(np.zeros_like(difficulty), difficulty).mean())


def rebuild_gamed(
    baselines: tuple[Published, Published], reference_length: float, difficulty: Floats
) -> Gamed:
    """Rows that tell a fit what ``df_gamed.csv`` would, as far as published numbers go.

    Args:
        baselines: the verbose and the concise one.
        reference_length: mean length of the reference's outputs, in characters.
        difficulty: γ of every instruction.

    Raises:
        ValueError: no spread of lengths gives a published win rate.
    """
    # Lengths and difficulties are taken as independent.
    mixed = np.random.default_rng(0).permutation(_normal(len(difficulty)))
    lengths = [
        np.tanh(_shift(baseline, reference_length, difficulty) + mixed) for baseline in baselines
    ]
    chances = [
        baseline.chances(length, difficulty)
        for baseline, length in zip(baselines, lengths, strict=True)
    ]
    return Gamed(np.concatenate(lengths), np.tile(difficulty, 2), np.concatenate(chances))


def _normal(count: int) -> Floats:
    """So many values that are distributed as a standard normal one."""
    inverse = NormalDist().inv_cdf
    return np.array([inverse((i + 0.5) / count) for i in range(count)])


def _shift(baseline: Published, reference_length: float, difficulty: Floats) -> float:
    """Mean over spread of the length differences, by bisection."""
    values = _normal(100)
    towards = math.copysign(1, reference_length - baseline.mean_length)

    def too_high(shift: float) -> float:
        x = np.tanh(shift + values)
        return float(100 * baseline.chances(x[:, None], difficulty).mean()) - baseline.win_rate

    near, far = towards / 20, towards * 20
    if too_high(near) * too_high(far) > 0:
        raise ValueError(f"no spread of lengths gives a win rate of {baseline.win_rate:.2f} %")
    rising = too_high(far) > too_high(near)
    for _ in range(40):
        middle = (near + far) / 2
        if (too_high(middle) > 0) == rising:
            far = middle
        else:
            near = middle
    return (near + far) / 2
