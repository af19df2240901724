"""Sequences that are made as they are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bfpo_bench.common.lazy import KEPT, WINDOW, LazySequence


def squares(length: int) -> tuple[LazySequence[int], list[range]]:
    """The squares up to a length, and the windows that were made of them so far."""
    made: list[range] = []

    def make(window: range) -> list[int]:
        made.append(window)
        return [i * i for i in window]

    return LazySequence(length, make), made


@given(st.integers(0, 3 * WINDOW), st.one_of(st.integers(-4000, 4000), st.slices(3 * WINDOW)))
def test_reads_like_a_list(length: int, index: int | slice) -> None:
    lazy, _ = squares(length)
    plain = [i * i for i in range(length)]
    assert len(lazy) == length
    try:
        expected = plain[index]
    except IndexError:
        with pytest.raises(IndexError):
            lazy[index]
    else:
        assert lazy[index] == expected


def test_each_window_is_made_once_in_reading_order() -> None:
    lazy, made = squares(10 * WINDOW + 1)
    assert made == []
    assert list(lazy) == [i * i for i in range(len(lazy))]
    assert [window.start for window in made] == list(range(0, len(lazy), WINDOW))
    assert made[-1] == range(10 * WINDOW, 10 * WINDOW + 1)


def test_looking_back_over_the_kept_windows_makes_nothing_anew() -> None:
    lazy, made = squares(KEPT * WINDOW)
    list(lazy)
    for index in reversed(range(len(lazy))):
        assert lazy[index] == index * index
    assert len(made) == KEPT
