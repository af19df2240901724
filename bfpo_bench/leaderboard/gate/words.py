"""What came of a check, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bfpo_bench.leaderboard.gate.decide import Check


def points(value: float) -> str:
    """Percentage points: ``1 point``, ``0.5 points``."""
    return f"{value:g} point{'' if value == 1 else 's'}"


def near(value: float, bar: float, plus: bool = False) -> str:
    """To two decimals, or as many as tell it from a bar that it is not.

    Args:
        plus: with its sign also where that is +.
    """
    digits = 2
    while digits < 9 and value != bar and float(f"{value:.{digits}f}") == bar:
        digits += 1
    text = f"{value:+.{digits}f}"
    return text if plus and float(text) else text.lstrip("+" if float(text) else "+-")


def why(check: Check, reasons: Sequence[str] = ()) -> str:
    """One sentence, whose first part says the outcome and what was found.

    Args:
        reasons: why nothing is decided, whatever the check says.
    """
    other = "that" if check.floor else "the baseline"
    value = f"{_by(check.value, check.bar)} than {other}" if check.value else f"as good as {other}"
    begin = f"{check.name}: {check.outcome}, {value}"
    sure = f"at {100 * check.confidence:g} % confidence (one-sided)"
    least, most = _by(check.low, check.bar, True), _by(check.high, check.bar, False)
    allowed = f"the {points(-check.bar)} that the policy allows"
    if check.outcome == "pass":
        near_it = not check.floor and check.low < 0
        return f"{begin}; {sure} {least}{f', within {allowed}' if near_it else ''}."
    if check.outcome == "fail":
        return f"{begin}; {sure} {most}{'' if check.floor else f', beyond {allowed}'}."
    said = f"{begin}; {sure} {least} and {most}"
    if reasons:
        return f"{said}; nothing is decided, because {'; '.join(reasons)}."
    if check.alone:
        return f"{said}; alone it would fail, but among so many checks that can be chance."
    return f"{said}; {_told(check)}."


def _by(value: float, bar: float, lower: bool | None = None) -> str:
    """``1.20 points better``, ``0.30 points worse``.

    Args:
        lower: of a lower bound, or an upper one: ``at most 0.30 points worse``.
    """
    text = near(value, bar)
    worse = text.startswith("-")
    least = "" if lower is None else "at most " if lower == worse else "at least "
    return f"{least}{text.lstrip('-')} points {'worse' if worse else 'better'}"


def _told(check: Check) -> str:
    """What such a sample could have told, and how many items would tell what is asked."""
    told = points(_up(check.told))
    if check.floor:
        return f"with power 80 % this sample shows it of a candidate that truly is {told} better"
    power = f"passes {100 * check.power:.0f} % of candidates exactly as good as the baseline"
    margin = points(-check.bar)
    if check.told <= -check.bar:
        return (
            f"this sample {power}, so this one is likely to be worse, though it is not shown to be "
            f"so by more than {margin}"
        )
    said = f"this sample cannot tell {margin}: it {power}, and tells {told} with power 80 %"
    if math.isinf(check.times):
        return f"{said}; to pass with a margin of 0 a candidate has to be better"
    if check.n is None:
        times = f"{check.times:.1f}" if check.times < 10 else f"{math.ceil(check.times):,}"
        return f"{said}; {margin} would take about {times} times as many items of its tasks"
    needed = math.ceil(check.times * check.n)
    short = check.whole is not None and needed > check.whole
    there = f", and there are {check.whole:,}" if short else ""
    return f"{said}; {margin} would take about {needed:,} items instead of {check.n:,}{there}"


def _up(value: float) -> float:
    """Rounded up to one decimal, below 1 to two."""
    scale = 10 if value >= 1 else 100
    return math.ceil(round(value * scale, 6)) / scale
