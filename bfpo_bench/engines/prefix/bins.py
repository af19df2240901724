"""Rows for attention over whole rows: which requests share one, at the least cost.

A dense mask costs as much where nobody looks as where somebody does: a row's attention grows with
the square of its length, and padding is computed like text. So the sorted requests are cut into
pieces, short where little is shared and long where much is; then rows of a batch, all as wide as
its longest piece or a little wider, are filled up with shorter pieces.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bfpo_bench.engines.prefix.tree import SortedRequests

WIDTHS = (64, 128, 192, 256, 384, 512)
"""Widths that are tried for rows that hold several pieces, in tokens."""


@dataclass(frozen=True)
class Cost:
    """Operations of a row.

    Attributes:
        per_token: outside of attention.
        per_pair: per pair of tokens of the row, whether the one sees the other or not.
    """

    per_token: float
    per_pair: float

    def of_row(self, tokens: float) -> float:
        """Operations of a row of so many tokens, padding included."""
        return tokens * (self.per_token + self.per_pair * tokens)


def cut_into_pieces(
    ordered: SortedRequests, max_tokens: int, cost: Cost, max_requests: int | None = None
) -> list[range]:
    """Cuts sorted requests where the pieces, each a row of its own, cost least together.

    The best way to cut up the requests before a place is the best of: a last piece that begins at
    some earlier place, after the best way to cut up those before it.

    Args:
        max_tokens: most tokens of a piece; a longer request is a piece of its own (with others
            that add nothing to it).
        max_requests: most requests of a piece.

    Returns:
        ranges of places in ``ordered.order``; together they are all of it, in order.
    """
    count = len(ordered.order)
    new = ordered.lengths - ordered.shared
    grown = np.concatenate([[0], np.cumsum(new)])
    # A request that adds no token stays with the one before it, if it may.
    inside = np.arange(1, count)
    cuts = np.concatenate([[0], inside if max_requests else inside[new[1:] > 0], [count]])
    # A piece [begin, end) holds shared[begin] - grown[begin] + grown[end] tokens.
    begins = (ordered.shared - grown[:-1])[cuts[:-1]]
    ends = grown[cuts]
    least = np.zeros(len(cuts))
    best = np.zeros(len(cuts), dtype=np.int64)
    first = 0
    for k in range(1, len(cuts)):
        while first < k - 1 and (
            ends[k] - ends[first] > max_tokens
            or (max_requests and cuts[k] - cuts[first] > max_requests)
        ):
            first += 1
        tokens = begins[first:k] + ends[k]
        costs = least[first:k] + cost.of_row(tokens)
        costs[:-1][tokens[:-1] > max_tokens] = np.inf
        chosen = int(costs.argmin())
        least[k], best[k] = costs[chosen], first + chosen
    pieces = []
    k = len(cuts) - 1
    while k > 0:
        pieces.append(range(int(cuts[best[k]]), int(cuts[k])))
        k = int(best[k])
    return pieces[::-1]


def fill_batches(
    sizes: Sequence[int],
    counts: Sequence[int],
    max_tokens: int,
    cost: Cost,
    max_requests: int | None = None,
) -> list[list[list[int]]]:
    """Pieces that share rows, rows that go through the model together; longest first.

    Longest first means that memory runs out, if it does, in the first minute.

    Args:
        sizes: tokens of each piece.
        counts: requests of each piece.
        max_tokens: most tokens of a batch once its rows are padded to the longest.
        max_requests: most requests of a batch. A piece above a limit is a batch of its own.

    Returns:
        batches of rows of pieces, as indices into `sizes`; each stands in exactly one row.
    """
    left = sorted(range(len(sizes)), key=lambda piece: (sizes[piece], -piece))
    batches = []
    while left:
        longest = sizes[left[-1]]
        tried = []
        for width in (longest, *(w for w in WIDTHS if longest < w <= max_tokens)):
            rows, rest = _filled(left, sizes, counts, width, max_tokens, max_requests)
            held = [sum(sizes[piece] for piece in row) for row in rows]
            tried.append((len(rows) * cost.of_row(max(held)) / sum(held), width, rows, rest))
        _, _, rows, left = min(tried)
        batches.append(rows)
    return batches


def fill_rows(
    sizes: Sequence[int],
    counts: Sequence[int],
    max_tokens: int,
    max_requests: int | None = None,
) -> list[list[int]]:
    """Pieces that make a row each time, for attention that costs nothing where nobody looks.

    Args: as for :func:`fill_batches`.

    Returns:
        rows of pieces, as indices into `sizes`, those with the longest pieces first; each piece
        stands in exactly one.
    """
    left = sorted(range(len(sizes)), key=lambda piece: (sizes[piece], -piece))
    found = []
    while left:
        width = max(max_tokens, sizes[left[-1]])
        (row,), left = _filled(left, sizes, counts, width, width, max_requests)
        found.append(row)
    return found


def _filled(
    left: Sequence[int],
    sizes: Sequence[int],
    counts: Sequence[int],
    width: int,
    max_tokens: int,
    max_requests: int | None,
) -> tuple[list[list[int]], list[int]]:
    """One batch of rows of one width, each filled with the longest pieces that still fit.

    Args:
        left: pieces to choose from, ascending by size.

    Returns:
        the rows, and the pieces that are left.
    """
    pieces = list(left)
    lengths = [sizes[piece] for piece in pieces]
    rows: list[list[int]] = []
    held = 0
    while pieces and len(rows) < max(1, max_tokens // width):
        row: list[int] = []
        room = width
        while (at := bisect_right(lengths, room) - 1) >= 0:
            more = counts[pieces[at]]
            if max_requests and held and held + more > max_requests:
                if row:
                    rows.append(row)
                return rows, pieces
            held += more
            room -= lengths.pop(at)
            row.append(pieces.pop(at))
        rows.append(row)
    return rows, pieces
