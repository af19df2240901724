"""Which of two models is the more helpful one, by one annotator on the same instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.statistics import bootstrap_weights
from bfpo_bench.helpfulness.annotation import Annotation
from bfpo_bench.helpfulness.length_control import (
    FOLDS,
    REPLICATES,
    Floats,
    bootstrap_length_control,
    fit_length_control,
)
from bfpo_bench.helpfulness.metrics import comparisons, win_draws, win_tally
from bfpo_bench.helpfulness.upstream import Upstream
from bfpo_bench.leaderboard.stats.paired import Difference, difference


@dataclass(frozen=True)
class HelpfulnessComparison:
    """Two models side by side.

    Attributes:
        n: instructions that both were annotated on with a usable answer.
        left_out: the others.
        differences: of the raw and of the length-controlled win rate.
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
    tally = win_tally([[a.preference for a in side] for side in sides])
    raw = difference("raw", "helpfulness", 100 * tally.means, win_draws(tally, seed), tally, seed)
    weights = bootstrap_weights(len(pairs), REPLICATES, seed)
    rates, drawn = zip(*(_length_controlled(s, upstream, weights) for s in sides), strict=True)
    controlled = difference(
        "length-controlled", "helpfulness", np.array(rates), np.stack(drawn, axis=1)
    )
    with_difficulty = comparisons(sides[0], upstream).difficulty is not None
    return HelpfulnessComparison(
        first=one.generator_2,
        second=two.generator_2,
        annotator=one.annotator,
        n=len(pairs),
        left_out=len(first) - len(pairs),
        differences=[raw, controlled],
        notes=upstream.notes(one.annotator, with_difficulty),
    )


def _length_controlled(
    annotations: Sequence[Annotation], upstream: Upstream, weights: Floats
) -> tuple[float, Floats]:
    """The rate in percent, and what resampling makes of it."""
    rows = comparisons(annotations, upstream)
    gamed = upstream.gamed if rows.difficulty is not None else None
    fit = fit_length_control(rows, gamed)
    return fit.win_rate, bootstrap_length_control(rows, gamed, fit, weights)
