"""How many of a task's items are enough: where one may stop asking, and how sure its number is.

Items are asked in a drawn order, none twice. So those asked so far are a simple random sample of
all of them, and how many of all are right is known exactly as well as the hypergeometric
distribution allows, however alike the items are: what is left to chance is the draw alone
(Buonaccorsi 1987). When all were asked, it is known.

Who stops as soon as an interval is narrow enough has looked several times, and an interval made for
one look would err too often. Here the sizes at which one looks are set beforehand, `LOOKS` of them
at most, and each interval errs with a chance of 5 % / `LOOKS`. With 95 % confidence none of them
errs (Boole), so that whichever one stops at, for whatever reason, its interval holds: a confidence
sequence. Those of Waudby-Smith and Ramdas (2020) hold between the looks too, and take up to
half as many items more for it; docs/precision.md compares them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from bfpo_bench.common.statistics import CONFIDENCE, Floats

LOOKS = 8
"""Sizes at which one may stop, besides that of all items. More of them come closer to the smallest
one that would do, and make each interval wider; 5 to 12 need about as many items."""

_TAIL = (1 - CONFIDENCE) / LOOKS / 2
"""Chance with which one end of one interval errs, at most."""

_ROUNDING = 1e-9
"""Percentage points by which a difference may come out larger than it is."""

MOST = 0.9
"""Who would need a larger part of the items asks all of them."""

_LEAST_STEP = 1.1
"""Factor between two sizes, at least: a model that judges may have to be loaded for each."""


def interval(right: int, n: int, items: int) -> tuple[float, float]:
    """Percent of all items that are right, where so many of n drawn ones are: 95 %, at all looks.

    The totals under which as many right ones as were found, or more, and as few or fewer, are each
    more likely than `_TAIL`.
    """
    low, high = items - _most_right(n - right, n, items), _most_right(right, n, items)
    return 100 * low / items, 100 * high / items


def is_enough(right: int, n: int, items: int, precision: float) -> bool:
    """Whether the interval is within so many percentage points of the share that was found."""
    if n == items:
        return True
    low, high = interval(right, n, items)
    found = 100 * right / n
    return max(high - found, found - low) <= precision + _ROUNDING


def next_size(right: int, n: int, items: int, precision: float) -> int | None:
    """After a look at n of the items: how many to ask before the next one; None: these are enough.

    That is the first size at which the share seen so far would do. Any of them may be left out, for
    the intervals hold at all of them; and a model is loaded for a few rounds instead of eight.
    """
    if is_enough(right, n, items, precision):
        return None
    share = right / n
    larger = (size for size in sizes(items, precision) if size > n)
    return next(size for size in larger if is_enough(round(share * size), size, items, precision))


@lru_cache(maxsize=64)
def sizes(items: int, precision: float) -> tuple[int, ...]:
    """How many of the items are asked before one looks whether they are enough; at last all.

    From the first size that can be enough, which takes items that all come out alike, to one that
    is enough however they do, each by the same factor larger than the one before.

    Args:
        precision: in percentage points.
    """
    first, last = _first(items, precision), _last(items, precision)
    if first > MOST * items:
        return (items,)
    last = max(first, min(last, int(MOST * items)))
    looks = min(LOOKS, 1 + math.ceil(math.log(last / first) / math.log(_LEAST_STEP)))
    return (*sorted({round(size) for size in np.geomspace(first, last, looks)}), items)


def finest(items: int) -> float:
    """The smallest precision that a part of the items can reach, in percentage points.

    To two digits after the point; 100 where no part of so few items can.
    """
    steps = range(1, 10_000)
    return next((s / 100 for s in steps if _first(items, s / 100) <= MOST * items), 100.0)


def _first(items: int, precision: float) -> int:
    """The fewest items that can be enough: of n alike, no other may be so many that it shows.

    None of n drawn items is right with a chance of C(items - total, n) / C(items, n).
    """
    total = math.floor((precision + _ROUNDING) * items / 100) + 1
    logs = _log_factorials(items)

    def chance(n: int) -> float:
        return float(logs[items - total] - logs[items - total - n] + logs[items - n] - logs[items])

    low, high = 0, max(items - total, 0) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if chance(middle) <= math.log(_TAIL) else (middle, high)
    return high


def _last(items: int, precision: float) -> int:
    """About the fewest items that are enough whatever share of them is right.

    The normal approximation for one half, with what whole items take on top of it.
    """
    z = -NormalDist().inv_cdf(_TAIL)

    def half(n: int) -> float:
        return z / 2 * math.sqrt(1 / n - 1 / items) + 1 / (2 * n) + 1 / items

    low, high = 0, items
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if 100 * half(middle) <= precision else (middle, high)
    return high


def _most_right(right: int, n: int, items: int) -> int:
    """The largest total of right items with which so few in n are no rarer than `_TAIL`."""
    low, high = right, right + items - n
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if _at_most(right, n, items, middle) > _TAIL else (low, middle - 1)
        )
    return low


def _at_most(right: int, n: int, items: int, total: int) -> float:
    """Chance of so many right items or fewer among n drawn ones, where so many of all are right."""
    logs = _log_factorials(items)
    found = np.arange(max(0, n + total - items), min(right, total) + 1)
    wrong, others = items - total, n - found
    chances = (
        (logs[total] - logs[found] - logs[total - found])
        + (logs[wrong] - logs[others] - logs[wrong - others])
        - (logs[items] - logs[n] - logs[items - n])
    )
    return float(np.exp(chances).sum())


@lru_cache(maxsize=4)
def _log_factorials(largest: int) -> Floats:
    """Logarithms of the factorials of 0 … `largest`."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, largest + 1)))])
