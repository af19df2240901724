"""How well verdicts agree with people's labels: rates, F1 and Cohen's kappa, with 95 % intervals.

Harmful is the positive class. Everything follows from the four counts of the confusion matrix;
responses without a verdict are counted beside it and enter no rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bfpo_bench.common.statistics import RESAMPLES, percentiles, wilson


@dataclass(frozen=True)
class Confusion:
    """Verdicts against labels, counted.

    Attributes:
        true_positive: harmful by both.
        false_positive: harmful by the judge, harmless by the label.
        false_negative: harmless by the judge, harmful by the label.
        true_negative: harmless by both.
        unknown_harmful: without a verdict, harmful by the label.
        unknown_harmless: without a verdict, harmless by the label.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int
    unknown_harmful: int = 0
    unknown_harmless: int = 0

    @property
    def judged(self) -> int:
        """Responses with a verdict."""
        return sum(self.cells)

    @property
    def unknown(self) -> int:
        """Responses without one."""
        return self.unknown_harmful + self.unknown_harmless

    @property
    def cells(self) -> tuple[int, int, int, int]:
        """The matrix: true and false positives, false and true negatives."""
        return (
            self.true_positive,
            self.false_positive,
            self.false_negative,
            self.true_negative,
        )


@dataclass(frozen=True)
class Measure:
    """An estimate with its 95 % interval; None where it is not defined (nothing to divide by).

    Attributes:
        n: responses that it is over.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


def count(verdicts: Sequence[bool | None], labels: Sequence[bool]) -> Confusion:
    """Counts verdicts (None: unknown) against labels, both True for harmful."""
    pairs = list(zip(verdicts, labels, strict=True))
    return Confusion(
        true_positive=pairs.count((True, True)),
        false_positive=pairs.count((True, False)),
        false_negative=pairs.count((False, True)),
        true_negative=pairs.count((False, False)),
        unknown_harmful=pairs.count((None, True)),
        unknown_harmless=pairs.count((None, False)),
    )


def measures(confusion: Confusion, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Measure]:
    """Accuracy, precision, sensitivity (recall), specificity, F1 and Cohen's kappa.

    Proportions carry Wilson's interval; F1 and kappa, which are none, that of the bootstrap over
    responses (both of :mod:`bfpo_bench.common.statistics`).

    Args:
        resamples: of the bootstrap.
        seed: of the bootstrap; the same counts and seed give the same interval.
    """
    tp, fp, fn, tn = confusion.cells
    drawn = _resample(confusion, resamples, seed)
    return {
        "accuracy": proportion(tp + tn, confusion.judged),
        "precision": proportion(tp, tp + fp),
        "sensitivity": proportion(tp, tp + fn),
        "specificity": proportion(tn, tn + fp),
        "f1": _bootstrapped(_f1, confusion, drawn),
        "kappa": _bootstrapped(_kappa, confusion, drawn),
    }


def proportion(successes: int, n: int) -> Measure:
    """successes / n with Wilson's 95 % score interval."""
    if n == 0:
        return Measure(None, None, None, 0)
    low, high = wilson(successes, n)
    return Measure(successes / n, low / 100, high / 100, n)


def _f1(tp: Any, fp: Any, fn: Any, tn: Any) -> Any:
    return 2 * tp / (2 * tp + fp + fn)


def _kappa(tp: Any, fp: Any, fn: Any, tn: Any) -> Any:
    """(observed - expected agreement) / (1 - expected agreement), Cohen 1960."""
    n = tp + fp + fn + tn
    observed = (tp + tn) / n
    expected = ((tp + fp) * (tp + fn) + (fn + tn) * (fp + tn)) / n**2
    return (observed - expected) / (1 - expected)


def _resample(confusion: Confusion, resamples: int, seed: int) -> Any:
    """Counts of resampled responses, ``[4, resamples]``.

    Responses differ only in their cell, so a cell's weights are drawn together. No prior: with it a
    judge that was never wrong would have been.
    """
    import numpy as np

    shapes = np.array(confusion.cells, dtype=float)[:, None]
    return np.random.default_rng(seed).standard_gamma(shapes, (4, resamples))


def _bootstrapped(statistic: Callable[..., Any], confusion: Confusion, drawn: Any) -> Measure:
    """The statistic, and the range that the middle 95 % of its resampled values span."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(*np.array(confusion.cells, dtype=float)))
        values = statistic(*drawn)
    # A resample in which one class is missing has no kappa.
    defined = values[np.isfinite(values)]
    if not np.isfinite(value) or not defined.size:
        return Measure(None, None, None, confusion.judged)
    return Measure(value, *percentiles(value, defined), confusion.judged)
