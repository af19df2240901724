"""Agreement over any number of classes: accuracy, F1 by class, kappa and alpha, with intervals.

Everything follows from the matrix of labels against verdicts. Its bootstrap gives each response a
random weight; responses differ only in their cell, so a cell's weights are drawn together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bfpo_bench.common.statistics import RESAMPLES, percentiles, wilson


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


@dataclass(frozen=True)
class Classes:
    """How verdicts agree with labels, class by class.

    Attributes:
        names: of the classes.
        confusion: responses by label and verdict, ``[label][verdict]``.
        unknown: responses without a verdict by label; they enter no measure.
        measures: accuracy, macro_f1 (mean over the classes that occur), kappa (Cohen's) and alpha
            (Krippendorff's, nominal).
        per_class: precision, recall and f1 of each class.
    """

    names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    unknown: tuple[int, ...]
    measures: dict[str, Measure]
    per_class: dict[str, dict[str, Measure]]

    def to_json(self) -> dict[str, Any]:
        """Plain values, and their intervals in the same places under ``intervals``."""
        per_class = {
            name: {
                "n": sum(counts) + unknown,
                **{what: measure.value for what, measure in self.per_class[name].items()},
            }
            for name, counts, unknown in zip(self.names, self.confusion, self.unknown, strict=True)
        }
        return {
            "names": list(self.names),
            "n": sum(map(sum, self.confusion)),
            **{name: measure.value for name, measure in self.measures.items()},
            "per_class": per_class,
            "confusion": {
                label: {**dict(zip(self.names, counts, strict=True)), "unknown": unknown}
                for label, counts, unknown in zip(
                    self.names, self.confusion, self.unknown, strict=True
                )
            },
            "intervals": {
                **intervals(self.measures),
                "per_class": {name: intervals(found) for name, found in self.per_class.items()},
            },
        }


def intervals(measures: dict[str, Measure]) -> dict[str, list[float | None]]:
    """Low and high of each."""
    return {name: [measure.low, measure.high] for name, measure in measures.items()}


def compare_classes(
    verdicts: Sequence[str | None], labels: Sequence[str], names: Sequence[str]
) -> Classes:
    """Verdicts (None: unknown) against labels, both of the classes ``names``."""
    import numpy as np

    place = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(names), len(names) + 1), dtype=int)
    for verdict, label in zip(verdicts, labels, strict=True):
        counts[place[label], -1 if verdict is None else place[verdict]] += 1
    matrix = counts[:, :-1]
    drawn = resample(matrix)
    measures = {
        "accuracy": proportion(int(matrix.trace()), int(matrix.sum())),
        "macro_f1": bootstrapped(macro_f1, matrix, drawn),
        "kappa": bootstrapped(kappa, matrix, drawn),
        "alpha": bootstrapped(alpha, matrix, drawn),
    }
    per_class = {
        name: {
            "precision": proportion(int(matrix[i, i]), int(matrix[:, i].sum())),
            "recall": proportion(int(matrix[i, i]), int(matrix[i].sum())),
            "f1": bootstrapped(lambda m, i=i: f1(m)[i], matrix, drawn),
        }
        for i, name in enumerate(names)
    }
    rows = tuple(tuple(map(int, row)) for row in matrix)
    return Classes(tuple(names), rows, tuple(map(int, counts[:, -1])), measures, per_class)


def proportion(successes: int, n: int) -> Measure:
    """successes / n with Wilson's 95 % score interval."""
    if n == 0:
        return Measure(None, None, None, 0)
    low, high = wilson(successes, n)
    return Measure(successes / n, low / 100, high / 100, n)


# Each takes matrices ``[classes, classes, …]`` of counts or weights.


def f1(matrix: Any) -> Any:
    """2 · both / (labels + verdicts) of each class, ``[classes, …]``."""
    return 2 * matrix.diagonal().T / (matrix.sum(0) + matrix.sum(1))


def macro_f1(matrix: Any) -> Any:
    """Mean F1 of the classes that a label or a verdict names."""
    import numpy as np

    occurs = (matrix.sum(0) + matrix.sum(1)) > 0
    return np.where(occurs, np.nan_to_num(f1(matrix)), 0).sum(0) / occurs.sum(0)


def kappa(matrix: Any) -> Any:
    """(observed - expected agreement) / (1 - expected agreement), Cohen 1960."""
    n = matrix.sum((0, 1))
    observed = matrix.diagonal().sum(-1) / n
    expected = (matrix.sum(0) * matrix.sum(1)).sum(0) / n**2
    return (observed - expected) / (1 - expected)


def alpha(matrix: Any) -> Any:
    """1 - observed / expected disagreement of two coders, nominal data, Krippendorff 2011.

    Over the coincidences: the matrix and its transpose, whose 2 N values are drawn from without
    putting back.
    """
    values = matrix.sum(0) + matrix.sum(1)
    n = values.sum(0)
    disagree = n - 2 * matrix.diagonal().sum(-1)
    return 1 - (n - 1) * disagree / (n**2 - (values**2).sum(0))


def resample(matrix: Any, resamples: int = RESAMPLES, seed: int = 0) -> Any:
    """Weights of resampled responses, ``[*matrix.shape, resamples]``.

    No prior: with it a judge that was never wrong would have been.
    """
    import numpy as np

    shapes = np.asarray(matrix, dtype=float)[..., None]
    return np.random.default_rng(seed).standard_gamma(shapes, (*shapes.shape[:-1], resamples))


def bootstrapped(statistic: Callable[..., Any], matrix: Any, drawn: Any) -> Measure:
    """The statistic, and the range that the middle 95 % of its resampled values span."""
    import numpy as np

    counts = np.asarray(matrix, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(counts))
        values = statistic(drawn)
    # A resample in which one class is missing has no kappa.
    defined = values[np.isfinite(values)]
    if not np.isfinite(value) or not defined.size:
        return Measure(None, None, None, int(counts.sum()))
    return Measure(value, *percentiles(value, defined), int(counts.sum()))
