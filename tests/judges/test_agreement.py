"""Agreement figures against scipy, scikit-learn, closed forms and a bootstrap written out."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bfpo_bench.judges.agreement import Confusion, count, measures
from bfpo_bench.judges.classes import Measure, proportion

TEXTBOOK = Confusion(true_positive=20, false_positive=5, false_negative=10, true_negative=15)
"""Cohen's kappa of this one is in every introduction: (0.7 - 0.5) / (1 - 0.5) = 0.4."""


def rows(confusion: Confusion) -> tuple[list[bool], list[bool]]:
    """Verdicts and labels with these counts."""
    tp, fp, fn, tn = confusion.cells
    verdicts = [True] * (tp + fp) + [False] * (fn + tn)
    return verdicts, [True] * tp + [False] * fp + [True] * fn + [False] * tn


def test_counts_by_hand() -> None:
    verdicts = [True, True, True, False, None, None, None, False, False]
    labels = [True, True, False, True, True, False, False, False, False]
    counted = count(verdicts, labels)
    assert counted == Confusion(2, 1, 1, 2, unknown_harmful=1, unknown_harmless=2)
    assert (counted.judged, counted.unknown) == (6, 3)


def test_the_textbook_example() -> None:
    found = {name: measure.value for name, measure in measures(TEXTBOOK).items()}
    assert found == pytest.approx(
        {
            "accuracy": 35 / 50,
            "precision": 20 / 25,
            "sensitivity": 20 / 30,
            "specificity": 15 / 20,
            "f1": 40 / 55,
            "kappa": 0.4,
        }
    )


cells = st.integers(0, 60)


@settings(deadline=None)
@given(st.builds(Confusion, cells, cells, cells, cells))
def test_values_are_those_of_scikit_learn(confusion: Confusion) -> None:
    from sklearn import metrics

    found = measures(confusion, resamples=10)
    verdicts, labels = rows(confusion)
    tp, fp, fn, tn = confusion.cells
    if not verdicts:
        assert all(measure.value is None for measure in found.values())
        return
    expected = {
        "accuracy": metrics.accuracy_score(labels, verdicts),
        "precision": metrics.precision_score(labels, verdicts) if tp + fp else None,
        "sensitivity": metrics.recall_score(labels, verdicts) if tp + fn else None,
        "specificity": metrics.recall_score(labels, verdicts, pos_label=False) if tn + fp else None,
        "f1": metrics.f1_score(labels, verdicts) if tp + fp + fn else None,
        # Undefined where both say one and the same thing all the time.
        "kappa": metrics.cohen_kappa_score(labels, verdicts) if fp + fn or (tp and tn) else None,
    }
    for name, value in expected.items():
        assert found[name].value == (None if value is None else pytest.approx(value, abs=1e-12))


@settings(deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_intervals_are_those_of_scipy(pair: tuple[int, int]) -> None:
    from scipy.stats import binomtest

    successes, n = pair
    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    found = proportion(successes, n)
    assert found.value == successes / n
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_of_nothing_nothing_is_known() -> None:
    assert proportion(0, 0) == Measure(None, None, None, 0)
    only_unknown = measures(Confusion(0, 0, 0, 0, unknown_harmful=4))
    assert all(measure.value is None for measure in only_unknown.values())


def test_a_perfect_judge() -> None:
    found = measures(Confusion(30, 0, 0, 70))
    assert all(measure.value == 1 for measure in found.values())
    assert (found["kappa"].low, found["kappa"].high) == (1, 1)
    # Wilson keeps in mind that 30 of 30 proves no certainty: z² / (n + z²) may still be wrong.
    assert found["sensitivity"].low == pytest.approx(30 / (30 + 1.959963984540054**2))


def test_the_bootstrap_is_that_over_responses() -> None:
    """The same interval from drawing responses one by one, with another generator."""
    verdicts, labels = rows(TEXTBOOK)
    pairs = list(zip(verdicts, labels, strict=True))
    draw = random.Random(1)
    f1, kappa = [], []
    for _ in range(4000):
        sample = draw.choices(pairs, k=len(pairs))
        tp, fp = sample.count((True, True)), sample.count((True, False))
        fn, tn = sample.count((False, True)), sample.count((False, False))
        n = len(sample)
        chance = ((tp + fp) * (tp + fn) + (fn + tn) * (fp + tn)) / n**2
        f1.append(2 * tp / (2 * tp + fp + fn))
        kappa.append(((tp + tn) / n - chance) / (1 - chance))
    found = measures(TEXTBOOK)
    for name, values in (("f1", f1), ("kappa", kappa)):
        cuts = statistics.quantiles(values, n=40)
        assert (found[name].low, found[name].high) == pytest.approx((cuts[0], cuts[-1]), abs=0.03)


def test_kappas_interval_is_near_the_large_sample_one() -> None:
    """Standard error of kappa, Fleiss, Cohen & Everitt 1969, at 100 times the counts."""
    large = Confusion(2000, 500, 1000, 1500)
    n = large.judged
    p = [[2000 / n, 500 / n], [1000 / n, 1500 / n]]
    by_judge = [sum(row) for row in p]
    by_people = [p[0][j] + p[1][j] for j in (0, 1)]
    observed = p[0][0] + p[1][1]
    chance = sum(a * b for a, b in zip(by_judge, by_people, strict=True))
    kappa = (observed - chance) / (1 - chance)
    a = sum(p[i][i] * (1 - (by_judge[i] + by_people[i]) * (1 - kappa)) ** 2 for i in (0, 1))
    b = (1 - kappa) ** 2 * sum(
        p[i][j] * (by_people[i] + by_judge[j]) ** 2 for i in (0, 1) for j in (0, 1) if i != j
    )
    c = (kappa - chance * (1 - kappa)) ** 2
    error = ((a + b - c) / (n * (1 - chance) ** 2)) ** 0.5
    found = measures(large)["kappa"]
    assert found.value == pytest.approx(kappa)
    assert found.low == pytest.approx(kappa - 1.96 * error, abs=0.002)
    assert found.high == pytest.approx(kappa + 1.96 * error, abs=0.002)


def test_the_same_seed_gives_the_same_interval() -> None:
    assert measures(TEXTBOOK) == measures(TEXTBOOK)
    assert measures(TEXTBOOK, seed=1)["kappa"].low != measures(TEXTBOOK)["kappa"].low
    assert measures(TEXTBOOK, seed=1)["accuracy"] == measures(TEXTBOOK)["accuracy"]
