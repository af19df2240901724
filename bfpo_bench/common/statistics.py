"""How sure a number is: 95 % intervals and standard errors, the same wherever it is shown.

Wilson's interval for proportions, a bootstrap over items for all that is made of them, and the
standard error of that bootstrap in closed form.

The bootstrap is Rubin's (1981): where the ordinary one draws items with replacement, so that each
counts 0, 1, 2 … times, his gives each item a random weight of the same mean and spread. Items that
come in groups are weighted by group. Weights rather than counts for two reasons. Items with the
same outcome can be drawn together, as one gamma variate, so 10,000 resamples of a full run take a
fraction of a second and are exact. And a prior can be added: half a group in which every item is
right and half a group in which none is. Without it 520 harmless responses of 520 would have an
interval of no width; with it a single proportion has Jeffreys' interval (Brown, Cai and DasGupta
2001), which covers as often as it says near 0 and 100 % too. Elsewhere the two bootstraps agree.
docs/leaderboard.md shows the coverage of both.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
CONFIDENCE = 0.95
_PRIOR = 0.5
"""Groups added for each way in which all of a group's items can come out alike."""

_AT_A_TIME = 4_000_000
"""Gamma variates drawn at a time: 32 MB."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """How sure a number in percent is.

    Attributes:
        stderr: standard error in percentage points.
        low, high: 95 % interval.
    """

    stderr: float
    low: float
    high: float


@dataclass(frozen=True)
class Tally:
    """Items of one task by how they came out, in groups that are resampled whole.

    Attributes:
        counts: groups of each kind, ``[kinds]``; groups alike in size and points are one kind.
        sizes: items in a group of the kind, ``[kinds]``.
        points: sum of the items' values (0 to 1 each) in it, for each model, ``[kinds, models]``.
    """

    counts: Floats
    sizes: Floats
    points: Floats

    @property
    def groups(self) -> int:
        """Groups in all; items where they come singly."""
        return int(self.counts.sum())

    @property
    def items(self) -> int:
        """Items in all."""
        return int(self.counts @ self.sizes)

    @property
    def means(self) -> Floats:
        """Share of points of each model, ``[models]``."""
        return np.asarray(self.counts @ self.points / (self.counts @ self.sizes))

    @property
    def single(self) -> bool:
        """Whether the items come singly and each is right or wrong, so that it is a proportion."""
        return bool((self.sizes == 1).all() and np.isin(self.points, (0, 1)).all())


def tally_share(right: int, n: int) -> Tally:
    """The tally of n single items, so many of them right."""
    return Tally(np.array([right, n - right], float), np.ones(2), np.array([[1.0], [0.0]]))


def tally_items(values: Any, groups: Sequence[object] | None = None) -> Tally:
    """The tally of items one by one.

    Args:
        values: ``[items, models]``, 0 to 1.
        groups: the group of each item, in any order; None where each is its own.
    """
    points = np.asarray(values, float)
    sizes = np.ones(len(points))
    if groups is not None:
        place: dict[object, int] = {}
        index = np.array([place.setdefault(group, len(place)) for group in groups])
        sizes = np.bincount(index).astype(float)
        points = np.stack([np.bincount(index, weights=column) for column in points.T], axis=1)
    return tally_groups(sizes, points)


def tally_groups(sizes: Any, points: Any) -> Tally:
    """The tally of groups one by one: ``[groups]`` sizes and ``[groups, models]`` points."""
    rows = np.column_stack([np.asarray(sizes, float), np.asarray(points, float)])
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    return Tally(counts.astype(float), kinds[:, 0], kinds[:, 1:])


def _with_prior(tally: Tally) -> tuple[Floats, Floats, Floats]:
    """Counts, sizes and points of the kinds of groups, the prior's among them."""
    corners = np.array(list(itertools.product((0.0, 1.0), repeat=tally.points.shape[1])))
    size = tally.items / tally.groups
    return (
        np.concatenate([tally.counts, np.full(len(corners), _PRIOR)]),
        np.concatenate([tally.sizes, np.full(len(corners), size)]),
        np.concatenate([tally.points, corners * size]),
    )


def resample(tally: Tally, rng: np.random.Generator, resamples: int = RESAMPLES) -> Floats:
    """Resampled means of a task in percent, ``[resamples, models]``."""
    shapes, sizes, points = _with_prior(tally)
    found = np.empty((resamples, points.shape[1]))
    step = max(1, _AT_A_TIME // len(shapes))
    for begin in range(0, resamples, step):
        end = min(begin + step, resamples)
        weights = rng.standard_gamma(shapes, (end - begin, len(shapes)))
        found[begin:end] = 100 * (weights @ points) / (weights @ sizes)[:, None]
    return found


def standard_error(tally: Tally) -> float:
    """What `resample` spreads by, for the first model, in percentage points, without drawing.

    Weights of Rubin's bootstrap are Dirichlet distributed, whose variances are known: of single
    items this is exact (right or wrong ones have a beta distribution's standard deviation), of
    groups it is the delta method of a ratio, as in a cluster-robust standard error.
    """
    counts, sizes, points = _with_prior(tally)
    total, items = counts.sum(), counts @ sizes
    residuals = points[:, 0] - sizes * (counts @ points[:, 0]) / items
    return float(100 * np.sqrt(total * (counts @ residuals**2) / (total + 1)) / items)


def share(values: Sequence[float]) -> tuple[float, float]:
    """Mean of independent values from 0 to 1 and its standard error, in percent."""
    tally = tally_items(np.asarray(values, float)[:, None])
    return 100 * float(tally.means[0]), standard_error(tally)


def bootstrap_weights(items: int, samples: int, seed: int = 0) -> Floats:
    """Rubin's weights of items one by one, ``[samples, items]``, each row of mean 1.

    For what is no mean of values from 0 to 1 (a fit, a reward), where no prior can be added.
    """
    drawn = np.random.default_rng(seed).standard_exponential((samples, items))
    return np.asarray(drawn / drawn.mean(axis=1, keepdims=True))


def wilson(right: float, n: int) -> tuple[float, float]:
    """Wilson's score interval (1927, no continuity correction) of right / n, in percent."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    p = right / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At 0 and 1 the ends are 0 and 1; rounding would leave them just beside.
    low = 0.0 if right == 0 else (centre - half) / scale
    high = 1.0 if right == n else (centre + half) / scale
    return 100 * low, 100 * high


def percentiles(value: float, drawn: Floats) -> tuple[float, float]:
    """The range of the middle 95 % of resampled values; it always holds the value itself."""
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [outside, 1 - outside])
    return min(float(low), value), max(float(high), value)


def spread(tally: Tally, drawn: Floats) -> Spread:
    """How sure one task of one model is: Wilson's interval if it is a proportion of single items.

    Args:
        drawn: its resampled means, ``[resamples]``.
    """
    if tally.single:
        ends = wilson(float(tally.counts @ tally.points[:, 0]), tally.items)
    else:
        ends = percentiles(100 * float(tally.means[0]), drawn)
    return Spread(standard_error(tally), *ends)


def draw_tasks(
    tallies: Mapping[str, Tally], seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Floats]:
    """Resampled means of each task, ``[resamples, models]``; tasks are drawn independently.

    A task's draws depend on the seed and its own name alone, not on what other tasks there are.
    """
    return {
        name: resample(tally, np.random.default_rng([seed, *name.encode()]), resamples)
        for name, tally in tallies.items()
    }


def mean_of(drawn: Sequence[Floats]) -> Floats:
    """Draws of an average from those of its parts."""
    return np.asarray(np.mean(np.stack(drawn), axis=0))
