"""The study's statistics: means over seeds with their intervals, and differences paired by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from bfpo_bench.toy_world.datasets import REGIMES
from bfpo_bench.toy_world.evaluate import Shares
from bfpo_bench.toy_world.study.arms import START
from bfpo_bench.toy_world.study.runs import Cell, score

MEASURES = (*(field.name for field in fields(Shares)), "score")


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
    from scipy.special import stdtrit

    quantile = round(float(stdtrit(n - 1, 0.975)), 3)  # as tables have it
    return Mean(value, quantile * statistics.stdev(values) / math.sqrt(n), n)


def by_seed(cells: Iterable[Cell], regime: str, arm: str) -> dict[int, Shares]:
    """Test results of an arm in a regime; the start model is the same in all."""
    there = ("" if arm == START else regime, arm)
    return {cell.seed: cell.test for cell in cells if (cell.regime, cell.arm) == there}


def summary(shares: Iterable[Shares]) -> dict[str, Mean]:
    """Every measure's mean over seeds, and that of the score."""
    rows = [_measures(one) for one in shares]
    return {name: mean([row[name] for row in rows]) for name in rows[0]}


def difference(
    minuend: Mapping[int, Shares], subtrahend: Mapping[int, Shares]
) -> dict[str, Mean] | None:
    """Means of the differences over the seeds that both have; None where there is none."""
    both = sorted(minuend.keys() & subtrahend.keys())
    if not both:
        return None
    pairs = [(_measures(minuend[s]), _measures(subtrahend[s])) for s in both]
    return {name: mean([a[name] - b[name] for a, b in pairs]) for name in pairs[0][0]}


def _measures(shares: Shares) -> dict[str, float]:
    return {**asdict(shares), "score": score(shares)}


def regimes_of(cells: Iterable[Cell]) -> list[str]:
    """Those that have been run, in their order."""
    there = {cell.regime for cell in cells}
    return [regime for regime in REGIMES if regime in there]


def front_of(cells: Iterable[Cell], arm: str) -> dict[float, list[Shares]]:
    """Test results of every seed by the value of an arm's knob, in the order of values."""
    found: dict[float, list[Shares]] = {}
    for cell in cells:
        for value, shares in cell.front.items() if cell.arm == arm else ():
            found.setdefault(value, []).append(shares)
    return dict(sorted(found.items()))
