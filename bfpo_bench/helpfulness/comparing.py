"""Which of two models is the more helpful one, by one annotator on the same instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bfpo_bench.errors import BadInput
from bfpo_bench.helpfulness.annotation import Annotation
from bfpo_bench.helpfulness.length_control import (
    FOLDS,
    bootstrap_length_control,
    fit_length_control,
    resample,
)
from bfpo_bench.helpfulness.logistic import Floats
from bfpo_bench.helpfulness.metrics import comparisons, resampled_win_rates, win_rate
from bfpo_bench.helpfulness.upstream import Upstream
from bfpo_bench.intervals import percentiles


@dataclass(frozen=True)
class Difference:
    """Second model less first, in percentage points, with a 95 % interval.

    Attributes:
        metric: ``raw`` or ``length-controlled`` win rate.
        p: two-sided: how often a resampled difference has the other sign, doubled; at least
            2 / (samples + 1).
    """

    metric: str
    first: float
    second: float
    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class HelpfulnessComparison:
    """Two models side by side.

    Attributes:
        n: instructions that both were annotated on with a usable answer.
        left_out: the others.
    """

    first: str
    second: str
    annotator: str
    n: int
    left_out: int
    differences: list[Difference]
    notes: list[str]


def compare_helpfulness(
    first: Sequence[Annotation], second: Sequence[Annotation], upstream: Upstream, seed: int = 0
) -> HelpfulnessComparison:
    """Compares win rates over the same instructions, resampled together.

    Raises:
        BadInput: other instructions, another annotator or reference, or too few usable answers.
    """
    one, two = first[0], second[0]
    for what, this, that in (
        ("annotated by", one.annotator, two.annotator),
        ("compared with", one.generator_1, two.generator_1),
    ):
        if this != that:
            raise BadInput(
                f"{one.generator_2} was {what} {this} and {two.generator_2} {what} {that}; only "
                "win rates of one annotator and reference can be compared."
            )
    by_text = {a.instruction: a for a in second}
    if by_text.keys() != {a.instruction for a in first}:
        raise BadInput(
            f"{one.generator_2} and {two.generator_2} were annotated on different instructions; "
            "annotate both on the same ones."
        )
    pairs = [
        (a, by_text[a.instruction])
        for a in first
        if a.preference is not None and by_text[a.instruction].preference is not None
    ]
    if len(pairs) < 2 * FOLDS:
        raise BadInput(
            f"{one.generator_2} and {two.generator_2} have {len(pairs)} instructions with usable "
            f"annotations in common; {2 * FOLDS} are needed."
        )
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    weights = resample(len(pairs), seed=seed)
    rates = [_rates(side, upstream, weights) for side in sides]
    (raw_one, lc_one), (raw_two, lc_two) = rates
    with_difficulty = comparisons(sides[0], upstream).difficulty is not None
    return HelpfulnessComparison(
        first=one.generator_2,
        second=two.generator_2,
        annotator=one.annotator,
        n=len(pairs),
        left_out=len(first) - len(pairs),
        differences=[
            _difference("raw", raw_one, raw_two),
            _difference("length-controlled", lc_one, lc_two),
        ],
        notes=upstream.notes(one.annotator, with_difficulty),
    )


_Rate = tuple[float, Floats]
"""A rate in percent, and what resampling makes of it."""


def _rates(
    annotations: Sequence[Annotation], upstream: Upstream, weights: Floats
) -> tuple[_Rate, _Rate]:
    rows = comparisons(annotations, upstream)
    gamed = upstream.gamed if rows.difficulty is not None else None
    fit = fit_length_control(rows, gamed)
    raw, _ = win_rate([a.preference for a in annotations])
    return (
        (raw, resampled_win_rates(rows.preference, weights)),
        (fit.win_rate, bootstrap_length_control(rows, gamed, fit, weights)),
    )


def _difference(metric: str, first: _Rate, second: _Rate) -> Difference:
    value = second[0] - first[0]
    drawn = second[1] - first[1]
    low, high = percentiles(value, drawn)
    beyond = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    p = min(1.0, 2 * (beyond + 1) / (len(drawn) + 1))
    return Difference(metric, first[0], second[0], value, low, high, p)
