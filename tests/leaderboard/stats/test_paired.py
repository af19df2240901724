"""Interval, p-value and verdict of a difference: never against each other, and of known sizes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from bfpo_bench.common.statistics import Tally, resample, tally_groups, tally_items
from bfpo_bench.leaderboard.columns import GEN, Column
from bfpo_bench.leaderboard.stats.paired import (
    Difference,
    Paired,
    difference,
    end_text,
    holm,
    p_text,
    settled,
    signed,
)

TASK = Column("task", "task", "task", "gen", "higher")


def of_tally(tally: Tally, resamples: int = 1_000, seed: int = 0) -> Difference:
    drawn = resample(tally, np.random.default_rng(seed), resamples)
    return difference(Paired(TASK, 100 * tally.means, drawn, tally))


def of_counts(both: int, first: int, other: int, neither: int) -> Difference:
    """Two models by how many items both, one alone, or neither has right."""
    rows = [(1, 1)] * both + [(1, 0)] * first + [(0, 1)] * other + [(0, 0)] * neither
    return of_tally(tally_items(rows), 100)


def agrees(d: Difference) -> bool:
    """Whether all that is printed of a difference says the same: that it is one, or need not be."""
    low, high = float(end_text(d.low)), float(end_text(d.high))
    assert d.low <= d.value <= d.high
    assert -100 <= d.low <= d.high <= 100
    text = p_text(d.p)
    small = text.startswith("<") or float(text) < 0.05
    known = settled(d, d.holm, 1.0).verdict in ("differs", "alone")
    return (low > 0 or high < 0) == (d.low > 0 or d.high < 0) == (d.p < 0.05) == small == known


def tables(n: int) -> Iterator[tuple[int, int, int, int]]:
    for both, first, other in itertools.product(range(n + 1), repeat=3):
        if both + first + other <= n:
            yield both, first, other, n - both - first - other


@pytest.mark.parametrize("n", range(1, 9))
def test_every_small_table_agrees_with_itself_and_with_scipy(n: int) -> None:
    for counts in tables(n):
        found = of_counts(*counts)
        _, first, other, _ = counts
        assert agrees(found), counts
        assert found.value == pytest.approx(100 * (other - first) / n)
        expected = stats.binomtest(first, first + other).pvalue if first + other else 1.0
        assert found.p == pytest.approx(expected, rel=1e-9)


def test_four_items_are_too_few_and_six_are_not() -> None:
    """2 / 2⁴ = 0.125 and 2 / 2⁶ = 0.031, however large the difference looks."""
    four, six = of_counts(0, 0, 4, 0), of_counts(0, 0, 6, 0)
    assert (four.value, four.p) == (100, 0.125)
    assert four.low < 0 < four.high == 100
    assert (six.p, six.verdict) == (pytest.approx(2 / 64), "open")
    assert 0 < six.low < six.high == 100


@pytest.mark.parametrize(("first", "other"), [(0, 5), (1, 9), (20, 45), (300, 500)])
def test_where_all_items_tell_it_is_clopper_and_pearsons_interval(first: int, other: int) -> None:
    """The share q of those that the other alone has right, as the difference q − (1 − q).

    At its exact ends it has 2.5 % beyond it; 10,000 draws find them to 0.16 %.
    """
    n = first + other
    exact = stats.binomtest(other, n).proportion_ci(0.95, method="exact")
    assert stats.beta.cdf(exact.low, other, first + 1) == pytest.approx(0.025)
    found = of_counts(0, first, other, 0)
    low, high = ((1 + end / 100) / 2 for end in (found.low, found.high))
    assert stats.beta.cdf(low, other, first + 1) == pytest.approx(0.025, abs=0.006)
    if first == 0:
        assert high == exact.high == 1
    else:
        assert stats.beta.sf(high, other + 1, first) == pytest.approx(0.025, abs=0.006)


@pytest.mark.parametrize(
    ("first", "other", "n"), [(200, 300, 2_000), (900, 1_000, 9_000), (420, 330, 30_000)]
)
def test_of_many_items_it_is_the_closed_form(first: int, other: int, n: int) -> None:
    """± 1.96 √(b + c − (b − c)² / n) / n, and half an item more on both sides."""
    found = of_counts(n - first - other, first, other, 0)
    half = 100 * (1.96 * np.sqrt(first + other - (first - other) ** 2 / n) + 0.5) / n
    assert (found.low, found.high) == pytest.approx(
        (found.value - half, found.value + half), abs=half / 20
    )
    assert agrees(found)


def test_the_interval_covers_as_often_as_it_says() -> None:
    """By enumeration of all outcomes of 10 items, over a grid of truths."""
    n = 10
    ends = {(b, c): of_counts(n - b - c, b, c, 0) for _, b, c, _ in tables(n)}
    shares = [p for p in itertools.product(np.linspace(0, 1, 11), repeat=2) if sum(p) <= 1 + 1e-9]
    for one, two in shares:
        truth = [one, two, max(0.0, 1 - one - two)]
        covered = sum(
            stats.multinomial.pmf([b, c, n - b - c], n, truth)
            for (b, c), d in ends.items()
            if d.low - 1e-6 <= 100 * (two - one) <= d.high + 1e-6
        )
        assert covered > 0.95


def test_preferences_and_groups_agree_too() -> None:
    """By the bootstrap: small groups and preferences of every size, where much is at the edge."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(400):
        n = int(rng.integers(1, 9))
        sizes = rng.integers(1, 4, n)
        points = np.stack([rng.integers(0, sizes + 1) for _ in range(2)], axis=1)
        tally = (
            tally_groups(sizes, points) if i % 2 else tally_items(rng.integers(0, 3, (n, 2)) / 2)
        )
        found.append(of_tally(tally, seed=i))
    assert all(map(agrees, found))
    assert {d.test for d in found} == {"bootstrap", "McNemar"}
    assert any(d.p < 0.05 for d in found if d.test == "bootstrap")


@pytest.mark.parametrize("beyond", range(20, 31))
def test_the_bootstraps_edge(beyond: int) -> None:
    """One resampled difference more beyond 0 changes interval and p-value together."""
    drawn = np.column_stack([np.zeros(1_000), np.linspace(1, 2, 1_000)])
    drawn[:beyond, 1] = -0.001
    found = difference(Paired(GEN, np.array([0.0, 1.5]), drawn))
    assert agrees(found)
    assert found.p == pytest.approx(2 * (beyond + 1) / 1_001)
    assert (found.low > 0) == (beyond <= 24)


def test_a_value_beyond_its_draws_is_no_difference() -> None:
    drawn = np.column_stack([np.zeros(1_000), np.linspace(1, 2, 1_000)])
    for value in (0.0, -1.0):
        found = difference(Paired(GEN, np.array([0.0, value]), drawn))
        assert found.low <= 0 <= found.high
        assert found.p == 1
        assert agrees(found)


def test_sums_in_another_order_are_no_difference() -> None:
    one, two = 0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1
    assert one != two
    drawn = np.tile([one, two], (1_000, 1))
    found = difference(Paired(GEN, np.array([one, two]), drawn))
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_verdicts_of_a_family_follow_from_what_is_printed() -> None:
    some = [of_counts(20, b, c, 20) for b, c in ((0, 6), (0, 12), (9, 1), (3, 3), (20, 20))]
    corrected = holm([d.p for d in some])
    found = [settled(d, p, 50.0).verdict for d, p in zip(some, corrected, strict=True)]
    assert corrected[0] > 0.05 > some[0].p
    assert found == ["alone", "differs", "alone", "alike", "alike"]
    assert settled(some[3], 1.0, 1.0).verdict == "open"


def test_texts_at_the_edges() -> None:
    assert [p_text(p) for p in (0.04999, 0.05, 0.0495, 0.0494, 0.0009, 0.2)] == [
        "<.05", "0.050", "<.05", "0.049", "<.001", "0.200",
    ]  # fmt: skip
    assert [end_text(v) for v in (0.0, 0.0042, -0.0004, 0.005, -1.234)] == [
        "0.00", "+0.004", "-0.0004", signed(0.005), "-1.23",
    ]  # fmt: skip


def test_what_can_be_found_goes_by_the_interval() -> None:
    """2.8 standard errors where there are many items; four can show nothing at all."""
    n, first, other = 4_000, 300, 360
    error = 100 * np.sqrt(first + other - (first - other) ** 2 / n) / n
    found = of_counts(n - first - other, first, other, 0)
    assert found.detectable == pytest.approx((1.95996 + 0.84162) * error, rel=0.04)
    two = of_counts(2, 0, 0, 0)
    assert two.high > 80
    assert two.detectable == 100
    some = of_tally(tally_items(np.random.default_rng(0).uniform(size=(500, 2))), 10_000)
    half = (some.high - some.low) / 2
    assert some.test == "bootstrap"
    assert some.detectable == pytest.approx(half * (1 + 0.84162 / 1.95996), rel=1e-4)
