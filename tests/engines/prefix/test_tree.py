"""Packed prefix trees against the naive way: sets of beginnings, one request at a time."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bfpo_bench.engines.prefix.tree import Row, SortedRequests, batches_of_rows, pack

# Three different tokens and short requests: beginnings, whole requests and repeats collide often.
# The large token has a byte order that would sort wrongly if it were not big-endian.
REQUESTS = st.lists(
    st.lists(st.sampled_from([0, 1, 256]), min_size=1, max_size=7), min_size=1, max_size=14
)
LIMIT = st.integers(1, 30)


def beginnings(requests: Sequence[Sequence[int]]) -> set[tuple[int, ...]]:
    """Every beginning of every request: the nodes of the prefix tree."""
    return {tuple(ids[: n + 1]) for ids in requests for n in range(len(ids))}


def prefix_at(row: Row, token: int) -> tuple[int, ...]:
    """The tokens that one place of a row sees by its rule, itself included."""
    seen = [k for k in range(token + 1) if k <= token < row.ends[k]]
    return tuple(row.ids[seen].tolist())


@given(REQUESTS, LIMIT)
def test_every_request_stands_in_one_row_and_is_found_again(
    requests: list[list[int]], limit: int
) -> None:
    rows = pack(requests, limit)
    assert sorted(i for row in rows for i in row.requests) == list(range(len(requests)))
    for row in rows:
        for index, path in zip(row.requests, row.paths, strict=True):
            assert row.ids[path].tolist() == requests[index]
            assert row.positions[path].tolist() == list(range(len(requests[index])))


@given(REQUESTS, LIMIT)
def test_a_row_holds_every_beginning_once_and_each_sees_its_own(
    requests: list[list[int]], limit: int
) -> None:
    for row in pack(requests, limit):
        # What a token sees, itself included, is the beginning that it ends: nothing of
        # neighbours, nothing left out, and no beginning twice.
        seen = [prefix_at(row, token) for token in range(len(row))]
        assert len(set(seen)) == len(seen)
        assert set(seen) == beginnings([requests[i] for i in row.requests])
        assert row.positions.tolist() == [len(prefix) - 1 for prefix in seen]
        assert len(row.positions) == len(row.ends) == len(row.ids)


@given(REQUESTS, LIMIT)
def test_rows_keep_the_limit_unless_one_request_alone_breaks_it(
    requests: list[list[int]], limit: int
) -> None:
    for row in pack(requests, limit):
        assert len(row) <= limit or len(row.requests) == 1


@given(REQUESTS)
def test_tree_tokens_counts_the_nodes(requests: list[list[int]]) -> None:
    assert SortedRequests(requests).tree_tokens() == len(beginnings(requests))
    [row] = pack(requests, sum(map(len, requests)))
    assert len(row) == len(beginnings(requests))


@given(REQUESTS, LIMIT, st.none() | st.integers(1, 4))
def test_cuts_cover_all_in_order_and_know_their_sizes(
    requests: list[list[int]], limit: int, most: int | None
) -> None:
    ordered = SortedRequests(requests)
    cuts = ordered.cut(limit, most)
    assert [place for cut in cuts for place in cut] == list(range(len(requests)))
    for cut in cuts:
        chosen = [requests[ordered.order[place]] for place in cut]
        assert ordered.tokens_of(cut) == len(beginnings(chosen))
        assert most is None or len(cut) <= most


@given(REQUESTS, st.data())
def test_any_part_of_the_requests_can_be_laid_out(
    requests: list[list[int]], data: st.DataObject
) -> None:
    """Half a batch, after the memory did not suffice, has gaps."""
    ordered = SortedRequests(requests)
    places = sorted(data.draw(st.sets(st.integers(0, len(requests) - 1), min_size=1)))
    row = ordered.lay_out(places)
    assert row.requests == [ordered.order[place] for place in places]
    assert {prefix_at(row, token) for token in range(len(row))} == beginnings(
        [requests[i] for i in row.requests]
    )
    for index, path in zip(row.requests, row.paths, strict=True):
        assert row.ids[path].tolist() == requests[index]


@given(REQUESTS, st.data())
def test_some_of_the_requests_can_be_sorted_alone(
    requests: list[list[int]], data: st.DataObject
) -> None:
    among = sorted(data.draw(st.sets(st.integers(0, len(requests) - 1), min_size=1)))
    ordered = SortedRequests(requests, among)
    assert sorted(ordered.order) == among
    in_order = [requests[i] for i in ordered.order]
    assert in_order == sorted(in_order)


@given(REQUESTS, LIMIT, st.randoms(use_true_random=False))
def test_the_same_requests_make_the_same_rows_in_any_order(
    requests: list[list[int]], limit: int, chance: random.Random
) -> None:
    turned = list(range(len(requests)))
    chance.shuffle(turned)
    rows = pack(requests, limit)
    again = pack([requests[i] for i in turned], limit)
    assert [row.ids.tolist() for row in rows] == [row.ids.tolist() for row in again]
    assert [row.ends.tolist() for row in rows] == [row.ends.tolist() for row in again]


@given(st.lists(st.integers(1, 40), max_size=20), LIMIT, st.none() | st.integers(1, 5))
def test_batches_hold_every_row_once_within_the_limits(
    sizes: list[int], limit: int, most: int | None
) -> None:
    counts = [1 + size % 3 for size in sizes]
    batches = batches_of_rows(sizes, counts, limit, most)
    assert sorted(row for batch in batches for row in batch) == list(range(len(sizes)))
    widths = [max(sizes[row] for row in batch) for batch in batches]
    assert widths == sorted(widths, reverse=True)
    for batch, width in zip(batches, widths, strict=True):
        assert len(batch) == 1 or len(batch) * width <= limit
        assert len(batch) == 1 or most is None or sum(counts[row] for row in batch) <= most


def test_a_tree_by_hand() -> None:
    [row] = pack([[5, 6, 7], [5, 6], [5, 8, 9], [4]], max_tokens=100)
    # 4 | 5 (6 (7)) (8 (9))
    assert row.ids.tolist() == [4, 5, 6, 7, 8, 9]
    assert row.positions.tolist() == [0, 0, 1, 2, 1, 2]
    assert row.ends.tolist() == [1, 6, 4, 4, 6, 6]
    assert row.requests == [3, 1, 0, 2]
    assert [path.tolist() for path in row.paths] == [[0], [1, 2], [1, 2, 3], [1, 4, 5]]


def test_rows_are_cut_between_questions_where_room_allows() -> None:
    questions = [[q] * 6 + [answer] for q in (1, 2, 3) for answer in (7, 8, 9)]
    rows = pack(questions, max_tokens=20)
    # A question takes 9 tokens; a row of 20 would hold two and begin a third.
    assert [len(row) for row in rows] == [18, 9]


def test_places_are_integers_of_64_bits() -> None:
    [row] = pack([[1, 2**31 + 5]], max_tokens=8)
    assert row.ids.dtype == row.positions.dtype == row.ends.dtype == np.int64
    assert row.ids.tolist() == [1, 2**31 + 5]
