"""Pieces and filled rows against every way of cutting, counted naively."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bfpo_bench.engines.prefix.bins import Cost, cut_into_pieces, fill_batches, fill_rows
from bfpo_bench.engines.prefix.tree import SortedRequests

REQUESTS = st.lists(
    st.lists(st.sampled_from([0, 1, 256]), min_size=1, max_size=7), min_size=1, max_size=9
)
LIMIT = st.integers(1, 30)
COST = st.builds(Cost, st.floats(0.1, 100), st.floats(0, 10))
MOST = st.none() | st.integers(1, 4)


def tree_size(requests: list[list[int]]) -> int:
    """Different beginnings of some requests."""
    return len({tuple(ids[: n + 1]) for ids in requests for n in range(len(ids))})


def every_cutting(requests: list[list[int]]) -> list[list[list[list[int]]]]:
    """All ways to cut the sorted requests into pieces."""
    ordered, inside = sorted(requests), range(1, len(requests))
    found = []
    for chosen in itertools.product([False, True], repeat=len(inside)):
        bounds = [0, *(place for place, cut in zip(inside, chosen, strict=True) if cut)]
        found.append(
            [ordered[a:b] for a, b in itertools.pairwise([*bounds, len(ordered)])],
        )
    return found


@settings(max_examples=60, deadline=None)
@given(REQUESTS, LIMIT, COST, MOST)
def test_no_other_cutting_within_the_limits_costs_less(
    requests: list[list[int]], limit: int, cost: Cost, most: int | None
) -> None:
    ordered = SortedRequests(requests)
    pieces = cut_into_pieces(ordered, limit, cost, most)
    assert [place for piece in pieces for place in piece] == list(range(len(requests)))
    found = sum(cost.of_row(ordered.tokens_of(piece)) for piece in pieces)

    def allowed(piece: list[list[int]]) -> bool:
        # A request longer than the limit stands alone, with those that add nothing to it.
        alone = all(ids == piece[0] for ids in piece)
        fits = tree_size(piece) <= limit or (alone and (not most or len(piece) == 1))
        return fits and (most is None or len(piece) <= most)

    least = min(
        sum(cost.of_row(tree_size(piece)) for piece in pieces)
        for pieces in every_cutting(requests)
        if all(map(allowed, pieces))
    )
    assert found <= least * (1 + 1e-9)
    for piece in pieces:
        chosen = [requests[ordered.order[place]] for place in piece]
        assert allowed(chosen)


@given(st.lists(st.integers(1, 90), max_size=40), st.integers(1, 300), COST, MOST)
def test_every_piece_stands_in_one_row_within_the_limits(
    sizes: list[int], limit: int, cost: Cost, most: int | None
) -> None:
    counts = [1 + size % 3 for size in sizes]
    batches = fill_batches(sizes, counts, limit, cost, most)
    pieces = [[piece for row in batch for piece in row] for batch in batches]
    assert sorted(piece for batch in pieces for piece in batch) == list(range(len(sizes)))
    for batch, inside in zip(batches, pieces, strict=True):
        width = max(sum(sizes[piece] for piece in row) for row in batch)
        assert len(inside) == 1 or width * len(batch) <= limit
        assert len(inside) == 1 or most is None or sum(counts[piece] for piece in inside) <= most
    longest = [max(sizes[piece] for piece in batch) for batch in pieces]
    assert longest == sorted(longest, reverse=True)


@given(st.lists(st.integers(1, 90), max_size=40), st.integers(1, 300), MOST)
def test_rows_hold_every_piece_once_and_are_filled(
    sizes: list[int], limit: int, most: int | None
) -> None:
    counts = [1 + size % 3 for size in sizes]
    rows = fill_rows(sizes, counts, limit, most)
    assert sorted(piece for row in rows for piece in row) == list(range(len(sizes)))
    held = [sum(sizes[piece] for piece in row) for row in rows]
    for row, tokens in zip(rows, held, strict=True):
        assert len(row) == 1 or tokens <= limit
        assert len(row) == 1 or most is None or sum(counts[piece] for piece in row) <= most
    if most is None:
        # No two rows would fit into one: fewer than twice the rows that the tokens need.
        assert all(a + b > limit for a, b in itertools.pairwise(held))


def test_short_pieces_fill_what_long_ones_leave() -> None:
    # Two rows of 600 hold 600 and 590 + 10; nothing is padded and nothing is left over.
    [batch] = fill_batches([10, 600, 590], [1, 1, 1], 1200, Cost(1.0, 0.0))
    assert sorted(sorted(row) for row in batch) == [[0, 2], [1]]


def test_rows_are_wider_than_their_pieces_only_where_attention_is_cheap() -> None:
    # Rows of 100 would pad the second piece; one row of 192 holds both, but has more pairs.
    sizes, counts = [100, 70, 70], [1] * 3
    cheap = fill_batches(sizes, counts, 256, Cost(1.0, 0.0))
    dear = fill_batches(sizes, counts, 256, Cost(1.0, 1.0))
    assert list(map(len, cheap[0])) == [2]
    assert list(map(len, dear[0])) == [1, 1]


@pytest.mark.parametrize("per_pair", [0.0, 1.0])
def test_identical_requests_are_computed_once(per_pair: float) -> None:
    ordered = SortedRequests([[1, 2, 3]] * 500)
    [piece] = cut_into_pieces(ordered, 64, Cost(1.0, per_pair))
    assert ordered.tokens_of(piece) == 3
