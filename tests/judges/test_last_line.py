"""Labels behind other labels, against writing out every way by hand."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bfpo_bench.judges.labels import last_line, logsumexp, openings

LABELS = ("yes", "no")


def test_openings_by_hand() -> None:
    assert openings((), LABELS) == [""]
    assert openings(("A:",), LABELS) == ["A:"]
    assert openings(("A:", "B:"), LABELS) == ["A:", "A: yes\nB:", "A: no\nB:"]
    three = openings(("A:", "B:", "C:"), LABELS)
    assert three[3:] == [
        "A: yes\nB: yes\nC:",
        "A: yes\nB: no\nC:",
        "A: no\nB: yes\nC:",
        "A: no\nB: no\nC:",
    ]


def test_one_label_is_what_it_was() -> None:
    rows = [([math.log(0.2), math.log(0.3)], [math.log(0.4)])]
    harmful, safe = last_line(rows)
    assert (math.exp(harmful), math.exp(safe)) == pytest.approx((0.5, 0.4))


# P(yes) and P(no) after each opening of three lines; what is left is said about something else.
share = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(
    lambda pair: tuple(p / max(1.0, sum(pair)) for p in pair)
)


@settings(deadline=None)
@given(st.lists(share, min_size=7, max_size=7))
def test_three_lines_are_the_sum_over_the_four_ways(shares: list[tuple[float, float]]) -> None:
    lines = ("A:", "B:", "C:")
    said = dict(zip(openings(lines, LABELS), shares, strict=True))
    by_hand = [0.0, 0.0]
    for a, b, c in itertools.product((0, 1), repeat=3):
        first = said["A:"][a]
        second = said[f"A: {LABELS[a]}\nB:"][b]
        third = said[f"A: {LABELS[a]}\nB: {LABELS[b]}\nC:"][c]
        by_hand[c] += first * second * third
    rows = [([_log(yes)], [_log(no)]) for yes, no in shares]
    harmful, safe = last_line(rows)
    assert (math.exp(harmful), math.exp(safe)) == pytest.approx(tuple(by_hand), abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 800.0])
@pytest.mark.parametrize("place", range(3))
def test_what_is_no_probability_anywhere_spoils_the_answer(bad: float, place: int) -> None:
    rows = [([-1.0], [-1.0]) for _ in range(3)]
    rows[place] = ([bad], [-1.0])
    assert all(math.isnan(value) for value in last_line(rows))


def test_impossible_labels_stay_impossible() -> None:
    nothing = ([-math.inf], [-math.inf])
    assert last_line([nothing]) == (-math.inf, -math.inf)
    assert last_line([([0.0], [-math.inf]), nothing, ([-1.0], [-2.0])]) == (-math.inf, -math.inf)


def test_logsumexp_of_tiny_and_of_impossible_values() -> None:
    assert logsumexp([-1000.0, -1000.0]) == pytest.approx(-1000 + math.log(2))
    assert logsumexp([-math.inf]) == -math.inf


def _log(p: float) -> float:
    return math.log(p) if p > 0 else -math.inf
