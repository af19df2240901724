"""Is one model more helpful than another, by the same annotator? Raw and length-controlled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.statistics import Floats, bootstrap_weights
from bfpo_bench.helpfulness.annotation import Annotation
from bfpo_bench.helpfulness.length_control import (
    FOLDS,
    REPLICATES,
    bootstrap_length_control,
    fit_length_control,
)
from bfpo_bench.helpfulness.metrics import comparisons, win_draws, win_tally
from bfpo_bench.helpfulness.upstream import Upstream
from bfpo_bench.leaderboard.columns import ALPACA
from bfpo_bench.leaderboard.comparison import MARGIN, Comparison, Pair, corrected
from bfpo_bench.leaderboard.differences import WIN_RATE
from bfpo_bench.leaderboard.stats.paired import Paired, difference

_CONTROLLED = replace(ALPACA, title="Alpaca, length-controlled")


def compare_annotations(
    first: Sequence[Annotation],
    second: Sequence[Annotation],
    upstream: Upstream,
    seed: int = 0,
) -> Comparison:
    """Compares raw and length-controlled win rates by one annotator on the same instructions.

    Both are resampled, and refitted, with the same weights.

    Args:
        first, second: all annotations of each model.
        upstream: what their length control is fitted with.
        seed: of the bootstrap.

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
    raw = Paired(WIN_RATE, 100 * tally.means, win_draws(tally, seed), tally, seed)
    weights = bootstrap_weights(len(pairs), REPLICATES, seed)
    rates, drawn = zip(*(_length_controlled(s, upstream, weights) for s in sides), strict=True)
    controlled = Paired(_CONTROLLED, np.array(rates), np.stack(drawn, axis=1))
    with_difficulty = comparisons(sides[0], upstream).difficulty is not None
    left_out = len(first) - len(pairs)
    remarks = [f"win rates by annotator {one.annotator}"]
    remarks += [f"{left_out} instructions without a usable answer left out"] if left_out else []
    remarks += upstream.notes(one.annotator, with_difficulty)
    [drafts] = corrected([[difference(raw), difference(controlled)]], MARGIN)
    return Comparison((Pair(one.generator_2, two.generator_2, drafts, MARGIN),), (), tuple(remarks))


def _length_controlled(
    annotations: Sequence[Annotation], upstream: Upstream, weights: Floats
) -> tuple[float, Floats]:
    """The rate in percent, and what resampling makes of it."""
    rows = comparisons(annotations, upstream)
    gamed = upstream.gamed if rows.difficulty is not None else None
    fit = fit_length_control(rows, gamed)
    return fit.win_rate, bootstrap_length_control(rows, gamed, fit, weights)
