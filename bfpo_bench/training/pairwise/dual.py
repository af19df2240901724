"""The dual of constrained alignment: one multiplier of safety, found before any training.

One-shot dualization (Huang et al. 2024, arXiv 2405.19544, CAN). Of the problem

    max_π E_π[r] - β KL(π ‖ π_ref)  subject to  E_π[g] ≥ b

the Lagrangian's best policy is π_λ ∝ π_ref exp((r + λg)/β), which leaves the dual

    D(λ) = β E_x log E_ref exp((r + λ(g - b))/β),

smooth and convex; its slope is E_{π_λ}[g] - b. Its minimum over λ ≥ 0 is λ*, and π_{λ*} the
solution: no policy is trained to find it. The expectation under π_ref is a mean over samples of
it. The statements are those of the paper's abstract and its authors' code
(github.com/shuoli90/CAN, ``DualOptimizer``, which descends along the same slope); the paper's
own equation numbers could not be had.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.recipe_parts import LARGEST_MULTIPLIER


@dataclass(frozen=True)
class Samples:
    """Responses of the reference model and what they are worth, prompt after prompt.

    Attributes:
        helpful: r, [responses].
        safe: g, [responses].
        starts: where each prompt's responses begin, [prompts].
    """

    helpful: NDArray[np.float64]
    safe: NDArray[np.float64]
    starts: NDArray[np.intp]

    def mean(self, values: NDArray[np.float64]) -> float:
        """E_x E_ref: the mean over prompts of the mean over each one's responses."""
        return float(np.mean(self._sum(values) / self._counts))

    def value(self, multiplier: float, beta: float, threshold: float) -> float:
        """D(λ)."""
        _, log_mean = self._tilted(multiplier, beta)
        return float(beta * np.mean(log_mean) - multiplier * threshold)

    def under(self, multiplier: float, beta: float, values: NDArray[np.float64]) -> float:
        """The mean of what responses are worth under π_λ."""
        weights, _ = self._tilted(multiplier, beta)
        return float(np.mean(self._sum(weights * values)))

    @property
    def safest(self) -> float:
        """The mean over prompts of its safest response: E[g] where λ grows for ever."""
        return float(np.mean(np.maximum.reduceat(self.safe, self.starts)))

    @property
    def _counts(self) -> NDArray[np.intp]:
        return np.diff(self.starts, append=len(self.safe))

    def _sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.add.reduceat(values, self.starts)

    def _tilted(self, multiplier: float, beta: float) -> tuple[NDArray[Any], NDArray[Any]]:
        """π_λ of each response among its prompt's, and log E_ref exp((r + λg)/β) of each prompt."""
        exponent = (self.helpful + multiplier * self.safe) / beta
        largest = np.maximum.reduceat(exponent, self.starts)
        power = np.exp(exponent - np.repeat(largest, self._counts))
        total = self._sum(power)
        return power / np.repeat(total, self._counts), np.log(total / self._counts) + largest


def gather_samples(
    prompts: Sequence[Hashable], helpful: Sequence[float], safe: Sequence[float]
) -> Samples:
    """Responses by their prompts.

    Args:
        prompts: of each response; equal ones belong together, wherever they stand.
        helpful: r of each.
        safe: g of each.
    """
    numbers: dict[Hashable, int] = {}
    of = np.array([numbers.setdefault(prompt, len(numbers)) for prompt in prompts])
    order = np.argsort(of, kind="stable")
    return Samples(
        np.asarray(helpful, dtype=np.float64)[order],
        np.asarray(safe, dtype=np.float64)[order],
        np.flatnonzero(np.diff(of[order], prepend=-1)),
    )


def best_multiplier(samples: Samples, beta: float, threshold: float) -> float:
    """λ*: 0 where the constraint is met without it, else where it is met exactly.

    Args:
        beta: β, above 0.
        threshold: b.

    Raises:
        BadInput: these samples cannot meet it, or hardly.
    """
    from scipy.optimize import brentq

    def slope(multiplier: float) -> float:
        return samples.under(multiplier, beta, samples.safe) - threshold

    if slope(0.0) >= 0:
        return 0.0
    upper = 1.0
    while upper <= LARGEST_MULTIPLIER and samples.safest > threshold:
        if slope(upper) >= 0:
            return float(brentq(slope, 0.0, upper, xtol=1e-12, rtol=1e-12))
        upper *= 2
    raise BadInput(
        f"no multiplier up to {LARGEST_MULTIPLIER:,.0f} meets the constraint: it asks for a mean "
        f"safety of {threshold:.4g}, where the reference has {samples.mean(samples.safe):.4g} and "
        f"the safest known response to each prompt {samples.safest:.4g}; lower relabel.margin (or "
        ".threshold)."
    )
