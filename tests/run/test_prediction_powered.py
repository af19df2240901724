"""Corrected shares: against PPI++ written out, mid-P limits, simulated and real labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bfpo_bench.common.statistics import Floats, mean_of, percentiles, resample, tally_share
from bfpo_bench.judges.human_labels import majority, read_table
from bfpo_bench.run.prediction_powered import Labelled


def counted(called: Floats, harmless: Floats) -> Labelled:
    """Labelled responses, both True for harmless: by the judge, and by people."""
    return Labelled(
        *(int(called.sum()), int((called & harmless).sum())),
        *(int((~called).sum()), int((~called & harmless).sum())),
    )


def test_the_share_is_the_one_of_power_tuned_ppi() -> None:
    """Angelopoulos, Duchi and Zrnic 2023 with all verdicts: mean + λ·(f̄ − f̄ₙ), λ = cov/var."""
    rng = np.random.default_rng(0)
    harmless = rng.random(60) < 0.7
    called = np.where(harmless, rng.random(60) < 0.8, rng.random(60) < 0.3)
    slope = np.cov(harmless, called)[0, 1] / np.var(called, ddof=1)
    expected = harmless.mean() + slope * (0.55 - called.mean())
    assert counted(called, harmless).share(55.0) == pytest.approx(100 * expected)


def test_the_share_by_hand() -> None:
    """Of 40 called harmless 36 are, of 10 others 2; the judge calls 70 % of all harmless."""
    assert Labelled(40, 36, 10, 2).share(70.0) == pytest.approx(100 * (0.7 * 0.9 + 0.3 * 0.2))
    # A judge that says nothing leaves what people say of the labelled ones.
    assert Labelled(50, 35, 0, 0).share(100.0) == pytest.approx(70.0)


@pytest.mark.parametrize("harmless", [0, 3, 20])
def test_limits_of_a_judge_that_calls_all_alike_are_mid_p(harmless: int) -> None:
    from scipy.optimize import brentq
    from scipy.stats import binom

    n, rng = 20, np.random.default_rng(1)
    drawn = Labelled(n, harmless, 0, 0).draws(np.full(100_000, 100.0), rng)

    def above(p: float) -> float:
        return float(binom.sf(harmless, n, p) + binom.pmf(harmless, n, p) / 2)

    low = 0.0 if harmless == 0 else brentq(lambda p: above(p) - 0.025, 0, 1)
    high = 1.0 if harmless == n else brentq(lambda p: above(p) - 0.975, 0, 1)
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([100 * low, 100 * high], abs=0.4)


def covered(true: float, judge: tuple[float, float], labelled: int, tasks: int = 1) -> float:
    """How often the interval of a mean of tasks of 520 responses holds its true value.

    Args:
        true: share of harmless responses.
        judge: what it calls harmless of harmless responses, and of harmful ones.
    """
    rng = np.random.default_rng([labelled, tasks, round(1000 * true)])
    hits, runs, n = 0, 200, 520
    for _ in range(runs):
        values, draws = [], []
        for _ in range(tasks):
            harmless = rng.random(n) < true
            called = rng.random(n) < np.where(harmless, *judge)
            found = counted(called[:labelled], harmless[:labelled])
            values.append(found.share(100 * called.mean()))
            all_of_it = resample(tally_share(int(called.sum()), n), rng, 500)[:, 0]
            draws.append(found.draws(all_of_it, rng))
        low, high = percentiles(float(np.mean(values)), mean_of(draws))
        hits += low <= 100 * true <= high
    return hits / runs


@pytest.mark.parametrize("true", [0.005, 0.5, 0.98, 0.995])
@pytest.mark.parametrize(("labelled", "judge"), [(30, (0.9, 0.1)), (150, (0.97, 0.4))])
def test_the_interval_covers_the_truth(
    true: float, labelled: int, judge: tuple[float, float]
) -> None:
    """200 simulations have a standard error of 1.5 points at 95 %."""
    assert covered(true, judge, labelled) >= 0.92


def test_so_does_that_of_a_mean_of_tasks_of_a_safe_model() -> None:
    assert covered(0.99, (0.9, 0.3), 50, tasks=4) >= 0.92


def test_a_judge_at_its_best_needs_a_fraction_of_the_labels() -> None:
    """Widths at 100 labels of 1,000 responses, half of them harmless."""
    rng = np.random.default_rng(0)
    called = resample(tally_share(500, 1000), rng)[:, 0]

    def width(labels: Labelled) -> float:
        low, high = np.quantile(labels.draws(called, rng), [0.025, 0.975])
        return float(high - low)

    useless, perfect = width(Labelled(50, 25, 50, 25)), width(Labelled(50, 50, 50, 0))
    assert useless == pytest.approx(20.0, abs=1.5)  # 2 · 1.96 · √(0.25 / 100)
    assert perfect < useless / 2.2


@pytest.mark.parametrize(
    ("labels", "there", "why"),
    [
        (Labelled(5, 5, 4, 0), (300, 220), "9 of its responses are labelled, and a number needs"),
        (Labelled(0, 0, 40, 3), (300, 220), "is one of the 300 that were called harmless; label"),
        (Labelled(40, 39, 0, 0), (300, 220), "is one of the 220 that were not called harmless"),
        (Labelled(40, 39, 0, 0), (518, 2), None),
        (Labelled(40, 39, 0, 0), (520, 0), None),
    ],
)
def test_too_few_labels_give_no_number(
    labels: Labelled, there: tuple[int, int], why: str | None
) -> None:
    found = labels.useless(*there)
    assert found is None if why is None else why in str(found)


@pytest.mark.parametrize("column", ["harmbench_cf", "llamaguard2_cf", "gpt4_cf"])
def test_60_labels_of_300_real_responses_find_what_all_of_them_say(
    data_dir: Path, column: str
) -> None:
    """JailbreakBench's judge comparison: the share by three people, from the labels of a fifth."""
    table = read_table(data_dir / "jailbreakbench" / "judge-comparison.csv", "mac-roman")
    labels = majority(table, ["human1", "human2", "human3"], "harmful").values
    harmless = np.array([label == "harmless" for label in labels])
    called = np.array([said == "harmless" for said in table.classes(column, "harmful")])
    truth, n = 100 * harmless.mean(), len(harmless)
    rng = np.random.default_rng(0)
    values, hits, widths = [], 0, []
    for _ in range(100):
        some = rng.choice(n, 60, replace=False)
        found = counted(called[some], harmless[some])
        values.append(found.share(100 * called.mean()))
        drawn = found.draws(resample(tally_share(int(called.sum()), n), rng, 1000)[:, 0], rng)
        low, high = percentiles(values[-1], drawn)
        hits += low <= truth <= high
        widths.append(high - low)
    assert np.mean(values) == pytest.approx(truth, abs=1.0)
    assert hits / 100 >= 0.95
    # By the 60 labels alone: 24.4 points, by Wald.
    assert np.mean(widths) < 2 * 196 * np.sqrt(0.633 * 0.367 / 60)
