"""Intervals against scipy, closed forms, plain resampling, and their own promise of 95 %."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.synthetic_runs import GROUPS, group_of
from bfpo_bench.common.statistics import (
    Tally,
    draw_tasks,
    mean_of,
    percentiles,
    resample,
    share,
    spread,
    standard_error,
    tally_groups,
    tally_items,
    tally_share,
    wilson,
)


@pytest.mark.parametrize(("right", "n"), [(0, 1), (0, 520), (3, 10), (520, 520), (7000, 16076)])
def test_wilson_equals_scipy(right: int, n: int) -> None:
    interval = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert wilson(right, n) == pytest.approx((100 * interval.low, 100 * interval.high), abs=1e-9)


@pytest.mark.parametrize(("right", "n"), [(0, 520), (519, 520), (40, 115), (16, 20)])
def test_a_single_proportion_is_drawn_from_jeffreys_posterior(right: int, n: int) -> None:
    rng = np.random.default_rng(0)
    drawn = resample(tally_share(right, n), rng, 40_000)[:, 0]
    exact = 100 * stats.beta(right + 0.5, n - right + 0.5).ppf([0.025, 0.25, 0.5, 0.975])
    found = np.quantile(drawn, [0.025, 0.25, 0.5, 0.975])
    assert found == pytest.approx(exact, abs=0.03 * float(np.ptp(exact)))


def test_it_agrees_with_the_ordinary_bootstrap_of_scipy() -> None:
    values = np.repeat([1.0, 0.0], [610, 390])
    plain = stats.bootstrap(
        (values,), np.mean, n_resamples=5_000, method="percentile", rng=np.random.default_rng(1)
    )
    low, high = percentiles(
        61.0, resample(tally_share(610, 1000), np.random.default_rng(2), 20_000)[:, 0]
    )
    expected = plain.confidence_interval
    assert (low, high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=0.25)


def test_values_between_0_and_1_agree_with_scipy_too() -> None:
    """As the means over several seeds are."""
    values = np.random.default_rng(3).choice([0, 1 / 3, 2 / 3, 1], 800, p=[0.1, 0.2, 0.3, 0.4])
    tally = tally_items(values[:, None])
    assert len(tally.counts) == 4
    assert not tally.single
    sure = spread(tally, resample(tally, np.random.default_rng(4), 20_000)[:, 0])
    low, high = sure.low, sure.high
    plain = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(5))
    expected = plain.confidence_interval
    assert (low, high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=0.25)


def test_groups_agree_with_drawing_whole_groups() -> None:
    rng = np.random.default_rng(6)
    sizes = rng.integers(8, 300, 137)
    points = rng.binomial(sizes, rng.beta(4, 5, 137))
    tally = tally_groups(sizes, points[:, None])
    drawn = resample(tally, np.random.default_rng(7), 20_000)[:, 0]
    index = rng.integers(0, 137, (20_000, 137))
    plain = 100 * points[index].sum(1) / sizes[index].sum(1)
    assert np.std(drawn) == pytest.approx(np.std(plain), rel=0.08)
    assert np.mean(drawn) == pytest.approx(100 * points.sum() / sizes.sum(), abs=0.3)
    assert not tally.single


def test_items_of_a_group_are_found_whatever_their_order() -> None:
    values = np.array([[1.0], [0.0], [1.0], [1.0], [0.0], [0.0]])
    groups = ["a", "b", "a", "b", "c", "c"]
    order = [3, 5, 0, 2, 4, 1]
    tally = tally_items(values, groups)
    shuffled = tally_items(values[order], [groups[i] for i in order])
    for field in ("counts", "sizes", "points"):
        assert (getattr(tally, field) == getattr(shuffled, field)).all()
    assert (tally.groups, tally.items, tally.means.tolist()) == (3, 6, [0.5])


def test_a_full_run_is_few_kinds_of_groups() -> None:
    """10,000 resamples are cheap because as many gamma variates are drawn as there are kinds."""
    rng = np.random.default_rng(8)
    n = 4975
    values = rng.integers(0, 2, (n, 1))
    virtue = tally_items(values, list(group_of("ethics_virtue", n)))
    assert (virtue.groups, virtue.items, len(virtue.counts)) == (995, n, 6)
    bbq = tally_items(rng.integers(0, 2, (16076, 1)), list(group_of("bbq", 16076)))
    assert len(bbq.counts) <= GROUPS["bbq"]
    assert len(tally_share(14_000, 14_763).counts) == 2


def test_draws_depend_on_seed_and_name_alone() -> None:
    tallies = {"a": tally_share(3, 9), "b": tally_share(3, 9)}
    both, alone = draw_tasks(tallies, seed=1), draw_tasks({"b": tallies["b"]}, seed=1)
    assert (both["b"] == alone["b"]).all()
    assert (both["a"] != both["b"]).any()
    assert (draw_tasks(tallies, seed=2)["a"] != both["a"]).any()


def test_the_interval_holds_the_value_even_at_the_border() -> None:
    drawn = resample(tally_share(520, 520), np.random.default_rng(0))[:, 0]
    assert drawn.max() < 100
    low, high = percentiles(100.0, drawn)
    assert high == 100
    assert 99.0 < low < 100


def test_many_kinds_are_drawn_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = tally_items(np.random.default_rng(9).random((300, 1)))
    whole = resample(tally, np.random.default_rng(1), 50)
    monkeypatch.setattr("bfpo_bench.common.statistics._AT_A_TIME", 700)
    assert resample(tally, np.random.default_rng(1), 50) == pytest.approx(whole)


# ------------------------------------------------------------------------- coverage


def covered(shares: list[float], items: list[int], plain: bool = False, trials: int = 200) -> float:
    """How often the interval of a mean of proportions holds the true one."""
    rng = np.random.default_rng(10)
    truth, hits = 100 * np.mean(shares), 0
    for _ in range(trials):
        right = [int(rng.binomial(n, p)) for n, p in zip(items, shares, strict=True)]
        parts = [
            100 * rng.binomial(n, k / n, 400) / n
            if plain
            else resample(tally_share(k, n), rng, 400)[:, 0]
            for n, k in zip(items, right, strict=True)
        ]
        value = 100 * np.mean([k / n for n, k in zip(items, right, strict=True)])
        drawn = mean_of(parts)
        low, high = np.quantile(drawn, [0.025, 0.975]) if plain else percentiles(value, drawn)
        hits += low <= truth <= high
    return hits / trials


def test_averages_are_covered_as_often_as_they_should_be() -> None:
    assert covered([0.4, 0.5, 0.48, 0.55], [115, 221, 342, 940]) == pytest.approx(0.95, abs=0.045)
    assert covered([0.98, 0.87, 0.985], [520, 1199, 2000]) == pytest.approx(0.95, abs=0.045)


def test_near_100_percent_the_ordinary_bootstrap_breaks_down_and_this_one_does_not() -> None:
    gen = [0.999, 0.999, 0.9995, 0.999], [520, 1199, 5000, 5000]
    assert covered(*gen) > 0.91
    assert covered(*gen, plain=True) < 0.88


def test_groups_are_covered_and_single_items_would_not_be() -> None:
    rng = np.random.default_rng(11)
    hits = singly = 0
    for _ in range(200):
        sizes = rng.integers(20, 200, 137)
        points = rng.binomial(sizes, rng.beta(4.5, 5.5, 137))
        tally = tally_groups(sizes, points[:, None])
        value = 100 * float(tally.means[0])
        low, high = percentiles(value, resample(tally, rng, 400)[:, 0])
        hits += low <= 45 <= high
        low, high = wilson(points.sum(), sizes.sum())
        singly += low <= 45 <= high
    assert hits / 200 == pytest.approx(0.95, abs=0.045)
    assert singly / 200 < 0.6


def test_pairs_have_four_corners() -> None:
    """Two models that agree on every item: their difference is small, not known to be 0."""
    tally = Tally(np.array([500.0, 20.0]), np.ones(2), np.array([[1.0, 1.0], [0.0, 0.0]]))
    drawn = resample(tally, np.random.default_rng(0))
    difference = drawn[:, 1] - drawn[:, 0]
    low, high = percentiles(0.0, difference)
    # Of 520 items none differs: by the rule of three about 3 / 520 could, on either side.
    assert -0.8 < low < -0.2
    assert 0.2 < high < 0.8


@pytest.mark.parametrize(("right", "n"), [(0, 1), (0, 520), (519, 520), (40, 115), (7000, 16076)])
def test_the_standard_error_of_a_proportion_is_that_of_jeffreys_posterior(
    right: int, n: int
) -> None:
    exact = 100 * stats.beta(right + 0.5, n - right + 0.5).std()
    assert standard_error(tally_share(right, n)) == pytest.approx(exact, rel=1e-12)


def test_the_standard_error_of_values_is_lm_evals_but_for_the_prior() -> None:
    from lm_eval.api.metrics import mean_stderr

    values = [1.0] * 300 + [0.5] * 50 + [0.0] * 700
    mean, error = share(values)
    assert mean == pytest.approx(100 * np.mean(values))
    assert error == pytest.approx(100 * mean_stderr(values), rel=0.002)


def test_the_standard_error_of_groups_is_the_cluster_robust_one() -> None:
    """Liang and Zeger's (1986) sandwich for a mean: Σ_g (Σ_i residual)², with G / (G − 1)."""
    rng = np.random.default_rng(6)
    sizes = rng.integers(1, 200, 137)
    luck = stats.norm.cdf(rng.standard_normal(137))
    points = rng.binomial(sizes, luck)
    tally = tally_groups(sizes, points[:, None])
    n, mean = sizes.sum(), points.sum() / sizes.sum()
    meat = ((points - mean * sizes) ** 2).sum() * 137 / 136
    error = 100 * np.sqrt(meat) / n
    assert standard_error(tally) == pytest.approx(error, rel=0.02)
    naive = 100 * np.sqrt(mean * (1 - mean) / (n - 1))
    assert error > 4 * naive
    drawn = resample(tally, np.random.default_rng(7), 40_000)[:, 0]
    assert standard_error(tally) == pytest.approx(float(np.std(drawn)), rel=0.02)
    # The interval that is shown beside it is as wide.
    sure = spread(tally, drawn)
    assert sure.high - sure.low == pytest.approx(2 * 1.96 * sure.stderr, rel=0.02)
