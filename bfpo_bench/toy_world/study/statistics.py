"""Means over seeds, paired differences, and their intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from bfpo_bench.toy_world.measure import Shares
from bfpo_bench.toy_world.study.run import Run

MEASURES = tuple(field.name for field in fields(Shares))

# 97.5 % quantiles of Student's t for 1, 2, … degrees of freedom.
_T: tuple[float, ...] = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
    2.093,
    2.086,
)


@dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
        value: in percent or percentage points.
        half: half of its 95 % interval (Student's t); None for a single seed.
        n: seeds.
    """

    value: float
    half: float | None
    n: int

    @property
    def clear(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.half is not None and abs(self.value) > self.half


def mean(values: Sequence[float]) -> Mean:
    """Mean and 95 % interval of independent values."""
    n = len(values)
    value = statistics.fmean(values)
    if n < 2:
        return Mean(value, None, n)
    # Beyond the table a little too wide: the last quantile in it.
    quantile = _T[min(n - 1, len(_T)) - 1]
    return Mean(value, quantile * statistics.stdev(values) / math.sqrt(n), n)


def by_seed(runs: Sequence[Run], regime: str, arm: str) -> dict[int, Shares]:
    """Test results of an arm in a regime.

    Args:
        runs: those whose settings were chosen.
    """
    return {run.seed: run.test for run in runs if (run.regime, run.arm) == (regime, arm)}


def summary(shares: Mapping[int, Shares]) -> dict[str, Mean]:
    """Every measure's mean over seeds."""
    return {name: mean([getattr(one, name) for one in shares.values()]) for name in MEASURES}


def difference(
    minuend: Mapping[int, Shares], subtrahend: Mapping[int, Shares]
) -> dict[str, Mean] | None:
    """Means of the differences over the seeds that both have; None where there is none."""
    both = sorted(minuend.keys() & subtrahend.keys())
    if not both:
        return None
    return {
        name: mean([getattr(minuend[s], name) - getattr(subtrahend[s], name) for s in both])
        for name in MEASURES
    }
