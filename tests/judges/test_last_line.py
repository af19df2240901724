"""Labels behind other labels, against writing out every way by hand."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bfpo_bench.judges.answers import Answers, Line
from bfpo_bench.judges.labels import logsumexp

LABELS = ("yes", "no")
Row = tuple[float, float]


def answers(*lines: str) -> Answers:
    return Answers([Line(line, LABELS) for line in lines or ("",)])


def last_line(rows: list[Row], number: int | None = None) -> Row:
    """Log-probabilities of yes and no on a line of an answer of so many ways, the last one's."""
    there = answers(*"ABC"[: {1: 1, 3: 2, 7: 3}[len(rows)]])
    read = [dict(zip(LABELS, row, strict=True)) for row in rows]
    found = there.on(len(there.lines) - 1 if number is None else number, read)
    return found["yes"], found["no"]


def test_openings_by_hand() -> None:
    assert answers().openings == [""]
    assert answers("A:").openings == ["A:"]
    assert answers("A:", "B:").openings == ["A:", "A: yes\nB:", "A: no\nB:"]
    three = answers("A:", "B:", "C:").openings
    assert three[3:] == [
        "A: yes\nB: yes\nC:",
        "A: yes\nB: no\nC:",
        "A: no\nB: yes\nC:",
        "A: no\nB: no\nC:",
    ]


def test_a_label_that_alone_may_follow_is_not_asked_for() -> None:
    """Three lines as Qwen3Guard's, against the sum over its ways written out."""
    lines = [
        Line("S:", ("bad", "odd", "good")),
        Line("C:", ("none", "x", "y"), after={"good": ("none",), "bad": ("x", "y")}),
        Line("R:", LABELS),
    ]
    there = Answers(lines)
    assert there.openings == [
        *("S:", "S: bad\nC:", "S: odd\nC:"),
        *("S: bad\nC: x\nR:", "S: bad\nC: y\nR:"),
        *(f"S: odd\nC: {c}\nR:" for c in ("none", "x", "y")),
        "S: good\nC: none\nR:",
    ]
    p = [
        *({"bad": 0.2, "odd": 0.3, "good": 0.5}, {"x": 0.9, "y": 0.1, "none": 0.0}),
        {"none": 0.5, "x": 0.25, "y": 0.25},
        *({"yes": yes, "no": 1 - yes} for yes in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),
    ]
    rows = [dict.fromkeys(there.labels, -math.inf) | {k: _log(v) for k, v in r.items()} for r in p]
    yes = math.exp(there.on(2, rows)["yes"])
    bad = 0.2 * (0.9 * 0.1 + 0.1 * 0.2)
    assert yes == pytest.approx(bad + 0.3 * (0.5 * 0.3 + 0.25 * 0.4 + 0.25 * 0.5) + 0.5 * 0.6)
    assert math.exp(there.on(1, rows)["none"]) == pytest.approx(0.3 * 0.5 + 0.5)
    assert {k: math.exp(v) for k, v in there.on(0, rows).items()} == pytest.approx(p[0])


# P(yes) and P(no) after each opening of three lines; what is left is said about something else.
share = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(
    lambda pair: tuple(p / max(1.0, sum(pair)) for p in pair)
)


@settings(deadline=None)
@given(st.lists(share, min_size=7, max_size=7))
def test_three_lines_are_the_sum_over_the_four_ways(shares: list[tuple[float, float]]) -> None:
    lines = ("A:", "B:", "C:")
    said = dict(zip(answers(*lines).openings, shares, strict=True))
    by_hand = [0.0, 0.0]
    by_hand_b = [0.0, 0.0]
    for a, b, c in itertools.product((0, 1), repeat=3):
        first = said["A:"][a]
        second = said[f"A: {LABELS[a]}\nB:"][b]
        by_hand_b[b] += first * second / 2
        third = said[f"A: {LABELS[a]}\nB: {LABELS[b]}\nC:"][c]
        by_hand[c] += first * second * third
    rows = [(_log(yes), _log(no)) for yes, no in shares]
    for number, wanted in ((2, by_hand), (1, by_hand_b)):
        yes, no = last_line(rows, number)
        assert (math.exp(yes), math.exp(no)) == pytest.approx(tuple(wanted), abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 800.0])
@pytest.mark.parametrize("place", range(3))
def test_what_is_no_probability_anywhere_spoils_the_answer(bad: float, place: int) -> None:
    rows = [(-1.0, -1.0) for _ in range(3)]
    rows[place] = (bad, -1.0)
    assert all(math.isnan(value) for value in last_line(rows))


def test_impossible_labels_stay_impossible() -> None:
    nothing = (-math.inf, -math.inf)
    assert last_line([nothing]) == (-math.inf, -math.inf)
    assert last_line([(0.0, -math.inf), nothing, (-1.0, -2.0)]) == (-math.inf, -math.inf)


def test_logsumexp_of_tiny_and_of_impossible_values() -> None:
    assert logsumexp([-1000.0, -1000.0]) == pytest.approx(-1000 + math.log(2))
    assert logsumexp([-math.inf]) == -math.inf


def _log(p: float) -> float:
    return math.log(p) if p > 0 else -math.inf
