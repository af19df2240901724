"""From what a policy asks to what is to be decided: columns, and the checks of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from bfpo_bench.common.errors import BadInput
from bfpo_bench.leaderboard.columns import Column, named_column
from bfpo_bench.leaderboard.comparable import Opened
from bfpo_bench.leaderboard.differences import from_fifty
from bfpo_bench.leaderboard.gate.decide import Check, Drawn, above, bounds, improvement, inferior
from bfpo_bench.leaderboard.gate.policy import Asked, Policy
from bfpo_bench.leaderboard.gate.words import points
from bfpo_bench.leaderboard.stats.paired import Paired


def asked_of(
    policy: Policy, opened: Opened, paired: Sequence[Paired]
) -> Iterator[tuple[Column, Asked]]:
    """Columns and what is asked of each, the policy's own terms where a column says none."""
    known = [column for model in opened.models for column in model.entry.extra]
    known += [one.column for one in paired]
    named: dict[str, str] = {}
    for name, terms in policy.columns.items():
        column = named_column(name, known, "column of the gate's policy")
        if column.key in named:
            raise BadInput(
                f"the gate's policy names {column.title} twice ({named[column.key]!r} and "
                f"{name!r}); leave one out."
            )
        named[column.key] = name
        terms = terms or Asked()
        margin = policy.margin if terms.margin is None else terms.margin
        confidence = terms.confidence or policy.confidence
        yield column, replace(terms, margin=margin, confidence=confidence)


def _with_direction(column: Column, terms: Asked) -> Column:
    if column.direction == "neither":
        if terms.better is None:
            raise BadInput(
                f"{column.title} is neither good nor bad by itself; say in the gate's policy which "
                "way is better, with `better: higher` or `better: lower`."
            )
        return replace(column, direction=terms.better)
    if terms.better not in (None, column.direction):
        raise BadInput(
            f"{column.title} has its own direction, {column.direction}; leave `better` out of the "
            "gate's policy there."
        )
    return column


def checks_of(paired: Paired, terms: Asked, opened: Opened) -> Iterator[Check]:
    """The comparison with the baseline, then a floor or ceiling; not decided yet.

    Raises:
        BadInput: the column has no direction, or another one than the terms say.
    """
    column = _with_direction(paired.column, terms)
    scores, tally, margin = paired.scores, paired.tally, terms.margin or 0.0
    fixed = paired.own_ends is not None
    asked = f"at most {points(margin)} worse"
    if column.direction == "nearer-50":
        paired = from_fifty(paired, replace(column, direction="lower"))
        fixed, asked = True, f"at most {points(margin)} farther from 50"
    higher = column.direction == "higher"
    confidence = terms.confidence or 0.0
    task = opened.models[1].runs[0].results.tasks.get(str(column.task))

    def check(drawn: Drawn, asked: str, bar: float, floor: bool = False) -> Check:
        low, high = bounds(drawn, confidence)
        return Check(
            column=column.title,
            key=column.key,
            asked=asked,
            floor=floor,
            baseline=float(scores[0]),
            candidate=float(scores[1]),
            bar=bar,
            confidence=confidence,
            value=drawn.value,
            low=low,
            high=high,
            error=float(np.std(drawn.lower)),
            n=tally.items if tally is not None else None,
            whole=task.items if task is not None else None,
            inferior=inferior(drawn, bar, confidence),
        )

    yield check(improvement(paired, higher), asked, -margin)
    right, wrong = ("at_least", "at_most") if higher else ("at_most", "at_least")
    level = getattr(terms, right)
    if getattr(terms, wrong) is not None or (fixed and level is not None):
        why = (
            "a distance from 50 is held against the baseline alone"
            if fixed
            else f"{'more' if higher else 'less'} of it is better, so that is `{right}`"
        )
        raise BadInput(
            f"the gate's policy asks {column.title} for `{wrong if level is None else right}`, but "
            f"{why}; change that."
        )
    if level is not None:
        asked = f"{right.replace('_', ' ')} {level:g} %"
        yield check(above(paired, level, higher), asked, 0.0, floor=True)
