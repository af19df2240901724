"""Which responses make a pair."""

from __future__ import annotations

import pytest

from bfpo_bench.redteam.pairs import Answer, Dropped, choose_pair

HARM, SAFE, OPEN = True, False, None


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        # Two responses: the paper's rule.
        ([("a", HARM), ("b", HARM)], (0, 1)),
        ([("a", HARM), ("b", SAFE)], (0, 1)),
        ([("a", SAFE), ("b", HARM)], (0, 1)),
        ([("a", SAFE), ("b", SAFE)], Dropped.HARMLESS),
        # A verdict that is not known is no safety label.
        ([("a", OPEN), ("b", OPEN)], Dropped.UNKNOWN),
        ([("a", SAFE), ("b", OPEN)], Dropped.UNKNOWN),
        ([("a", HARM), ("b", OPEN)], Dropped.UNKNOWN),
        ([("a", HARM), ("a", OPEN)], Dropped.ALIKE),
        # Nothing to prefer.
        ([("a", HARM), (" a\n", HARM)], Dropped.ALIKE),
        ([("a", HARM), ("", SAFE)], Dropped.ALIKE),
        ([("  ", HARM), ("b", SAFE)], Dropped.ALIKE),
        ([("", HARM), (" ", HARM)], Dropped.SILENT),
        # More than two: one of each kind, the first of its kind.
        ([("a", HARM), ("b", HARM), ("c", SAFE), ("d", SAFE)], (0, 2)),
        ([("a", SAFE), ("b", SAFE), ("c", HARM)], (0, 2)),
        ([("a", HARM), ("a", HARM), ("b", HARM), ("c", HARM)], (0, 2)),
        ([("a", OPEN), ("b", HARM), ("", SAFE), ("c", SAFE)], (1, 3)),
    ],
)
def test_pairs(answers: list[tuple[str, bool | None]], expected: tuple[int, int] | Dropped) -> None:
    assert choose_pair([Answer(text, harmful) for text, harmful in answers]) == expected
