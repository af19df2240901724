"""Stopping when a number is known well enough: exact intervals, sizes, and coverage by drawing."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from bfpo_bench.common import enough
from bfpo_bench.common.enough import LOOKS, MOST, finest, interval, is_enough, next_size, sizes

TAIL = Fraction(5, 100) / LOOKS / 2


def by_definition(right: int, n: int, items: int) -> tuple[float, float]:
    """Least and greatest total under which neither tail of the sample is as rare as `TAIL`."""

    def chance(found: int, total: int) -> Fraction:
        return Fraction(comb(total, found) * comb(items - total, n - found), comb(items, n))

    likely = [
        total
        for total in range(items + 1)
        if sum(chance(found, total) for found in range(right, n + 1)) > TAIL
        and sum(chance(found, total) for found in range(right + 1)) > TAIL
    ]
    return 100 * min(likely) / items, 100 * max(likely) / items


@pytest.mark.parametrize(
    ("right", "n", "items"),
    [(0, 15, 24), (15, 15, 24), (7, 25, 60), (60, 97, 120), (1, 1, 9), (3, 9, 9), (50, 99, 100)],
)
def test_an_interval_is_that_of_its_definition(right: int, n: int, items: int) -> None:
    assert interval(right, n, items) == pytest.approx(by_definition(right, n, items))


@pytest.mark.parametrize("items", [24, 115, 520, 1267, 4975])
@pytest.mark.parametrize("precision", [1, 2, 5, 20])
def test_one_looks_from_where_it_can_be_enough_to_where_it_must(items: int, precision: int) -> None:
    *looks, last = sizes(items, precision)
    assert last == items
    assert len(looks) <= LOOKS
    if not looks:
        assert finest(items) > precision
        return
    assert finest(items) <= precision
    assert is_enough(0, looks[0], items, precision)
    assert not is_enough(0, looks[0] - 1, items, precision)
    if looks[-1] < int(MOST * items):
        some = range(0, looks[-1] + 1, max(1, looks[-1] // 60))
        assert all(is_enough(right, looks[-1], items, precision) for right in some)
        # Where there are few items, single ones count, and the last size has room for them.
        fewer = int(0.9 * looks[-1])
        assert fewer < 100 or not is_enough(fewer // 2, fewer, items, precision)


RATES = (0, 0.01, 0.5, 0.97)


def drawn(items: int, rate: float, looks: list[int]) -> tuple[int, np.ndarray]:
    """How many of all items are right, and how many at each look of 10,000 runs."""
    rng = np.random.default_rng([items, round(100 * rate)])
    total, n = round(rate * items), 0
    right, found = np.zeros(10_000, int), []
    for size in looks:
        right = right + rng.hypergeometric(total - right, items - n - total + right, size - n)
        found.append(right)
        n = size
    return total, np.stack(found, axis=1)


def covered(right: np.ndarray, n: int, items: int, total: int) -> np.ndarray:
    """Which runs have an interval at a look that holds the truth."""
    kinds, places = np.unique(right, return_inverse=True)
    ends = np.array([interval(int(kind), n, items) for kind in kinds])
    truth = 100 * total / items
    return ((ends[:, 0] <= truth + 1e-9) & (truth <= ends[:, 1] + 1e-9))[places]


@pytest.mark.parametrize("items", [100, 1000])
@pytest.mark.parametrize("rate", RATES)
def test_whoever_stops_is_right_in_95_of_100_runs(items: int, rate: float) -> None:
    """By the rule, at a precision of 5 points; and at whichever look is the worst."""
    looks = list(sizes(items, 5))
    total, right = drawn(items, rate, looks)
    held = np.stack([covered(right[:, i], n, items, total) for i, n in enumerate(looks)], axis=1)
    assert held.all(axis=1).mean() >= 0.95
    everyone = np.arange(len(right))
    before, place = None, np.zeros(len(right), int)
    while not np.array_equal(before, place):
        before = place
        states, which = np.unique([place, right[everyone, place]], axis=1, return_inverse=True)
        then = [(i, next_size(int(found), looks[i], items, 5)) for i, found in states.T]
        place = np.array([i if n is None else looks.index(n) for i, n in then])[which.ravel()]
    assert held[everyone, place].mean() >= 0.95
    # Within 5 points of the truth, too, for the interval was within 5 points of what was found.
    share = right[everyone, place] / np.array(looks)[place]
    assert (np.abs(100 * share - 100 * total / items) <= 5 + 1e-9).mean() >= 0.95


def test_intervals_for_one_look_would_err_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = list(sizes(1000, 2))
    total, right = drawn(1000, 0.5, looks)
    monkeypatch.setattr(enough, "_TAIL", 0.025)
    held = [covered(right[:, i], n, 1000, total) for i, n in enumerate(looks)]
    assert min(one.mean() for one in held) >= 0.945
    assert np.all(held, axis=0).mean() < 0.92
