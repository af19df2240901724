"""Requests as prefix trees, packed into rows: which tokens are computed, and where.

Many requests begin alike: the answers to one question, the questions after one instruction. In a
prefix tree of the requests every such beginning stands once. A *row* is the tree of some requests,
written down depth first: each token knows its depth in the tree (its position in every request
that it belongs to) and where its subtree ends. A token attends to its ancestors and itself, and in
depth-first order token k is an ancestor of token q exactly when ``k <= q < ends[k]``. These
vectors, ``[tokens]`` each, are all that attention has to know; separate trees of one row do not
see each other.

Everything here is integers on the CPU: no model, no torch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """The prefix tree of some requests, depth first.

    Attributes:
        requests: which requests, as indices into the list that was packed, ``[requests]``.
        ids: token ids, ``[tokens]``.
        positions: depth of each token in its tree: its position in the request, ``[tokens]``.
        ends: one past the last token of each token's subtree, ``[tokens]``.
        paths: for each request the places of its tokens in this row; entry r is
            ``[len(request r)]``, and ``ids[paths[r]]`` is the request again.
    """

    requests: list[int]
    ids: IntArray
    positions: IntArray
    ends: IntArray
    paths: list[IntArray]

    def __len__(self) -> int:
        return len(self.ids)


class SortedRequests:
    """Requests in lexicographic order, in which those that begin alike stand together.

    In that order the longest beginning that a request shares with *any* earlier one is the one
    that it shares with its neighbour, so the size of a tree is a sum over neighbours.

    Attributes:
        order: indices of the requests, sorted, ``[requests]``.
        lengths: tokens of each request, in sorted order, ``[requests]``.
        shared: tokens that each has in common with the one before it (0 for the first),
            ``[requests]``.
    """

    def __init__(self, requests: Sequence[Sequence[int]], among: Sequence[int] | None = None):
        """Sorts `requests`, or those named by `among`."""
        chosen = range(len(requests)) if among is None else among
        arrays = {i: np.asarray(requests[i], dtype=np.int64) for i in chosen}
        # Big-endian bytes compare like the numbers that they spell; Python compares them in C.
        keys = {i: array.astype(">u4").tobytes() for i, array in arrays.items()}
        self.order = sorted(arrays, key=lambda i: (keys[i], i))
        self._tokens = [arrays[i] for i in self.order]
        self.lengths = np.array([len(tokens) for tokens in self._tokens], dtype=np.int64)
        self.shared = np.zeros(len(self.order), dtype=np.int64)
        for k in range(1, len(self.order)):
            self.shared[k] = _common(self._tokens[k - 1], self._tokens[k])
        # [k]: tokens that the requests before k would add to one tree of them all.
        self._grown = [0, *np.cumsum(self.lengths - self.shared).tolist()]

    def tree_tokens(self) -> int:
        """Tokens in the prefix tree of all requests: the least that has to be computed."""
        return int((self.lengths - self.shared).sum())

    def cut(self, max_tokens: int, max_requests: int | None = None) -> list[range]:
        """Cuts the sorted requests into rows of at most `max_tokens` tokens.

        A cut makes the next row compute again what its first request shares with the one before.
        Each row therefore ends where unused room and repeated tokens together are fewest.

        Args:
            max_tokens: most tokens of a row; a longer request is a row of its own.
            max_requests: most requests of a row.

        Returns:
            ranges of places in ``order``; together they are all of it, in order.
        """
        begin, count = 0, len(self.order)
        most = max_requests or count
        rows = []
        while begin < count:
            # A row [begin, stop) holds shared[begin] + grown[stop] - grown[begin] tokens.
            offset = int(self.shared[begin] - self._grown[begin])
            stop = bisect_right(self._grown, max_tokens - offset, begin, count + 1) - 1
            stop = min(max(stop, begin + 1), begin + most)
            if stop < count:
                half = begin + 1 + (stop - begin) // 2
                stop = min(
                    range(stop, half - 1, -1),
                    key=lambda end: int(self.shared[end]) - self._grown[end],
                    default=stop,
                )
            rows.append(range(begin, stop))
            begin = stop
        return rows

    def tokens_of(self, row: range) -> int:
        """Tokens of the tree of one row."""
        span = slice(row.start, row.stop)
        return int((self.lengths[span] - self.shared[span]).sum() + self.shared[row.start])

    def lay_out(self, places: Sequence[int]) -> Row:
        """Writes the tree of some requests depth first.

        Args:
            places: ascending places in ``order``; they need not be neighbours.
        """
        size = int(self.lengths[list(places)].sum())
        ids, positions, ends = (np.empty(size, dtype=np.int64) for _ in range(3))
        path = np.empty(int(self.lengths[list(places)].max(initial=0)), dtype=np.int64)
        paths: list[IntArray] = []
        used, depth = 0, 0
        before: int | None = None
        for place in places:
            tokens = self._tokens[place]
            if before is None:
                common = 0
            elif place == before + 1:
                common = int(self.shared[place])
            else:
                common = _common(self._tokens[before], tokens)
            ends[path[common:depth]] = used
            new = len(tokens) - common
            ids[used : used + new] = tokens[common:]
            positions[used : used + new] = np.arange(common, len(tokens))
            path[common : len(tokens)] = np.arange(used, used + new)
            paths.append(path[: len(tokens)].copy())
            used, depth, before = used + new, len(tokens), place
        ends[path[:depth]] = used
        return Row(
            [self.order[place] for place in places],
            ids[:used].copy(),
            positions[:used].copy(),
            ends[:used].copy(),
            paths,
        )


def pack(requests: Sequence[Sequence[int]], max_tokens: int) -> list[Row]:
    """All requests as rows of at most `max_tokens` tokens (a longer request stands alone).

    Args:
        requests: token ids of each request, none of them empty.
    """
    ordered = SortedRequests(requests)
    return [ordered.lay_out(row) for row in ordered.cut(max_tokens)]


def batches_of_rows(
    sizes: Sequence[int],
    counts: Sequence[int],
    max_tokens: int,
    max_requests: int | None = None,
) -> list[list[int]]:
    """Rows that go through the model together: similar lengths, longest first.

    Longest first means that memory runs out, if it does, in the first minute.

    Args:
        sizes: tokens of each row.
        counts: requests of each row.
        max_tokens: most tokens of a batch once its rows are padded to the longest.
        max_requests: most requests of a batch. A row above a limit is a batch of its own.
    """
    batches: list[list[int]] = []
    width = held = 0
    for row in sorted(range(len(sizes)), key=lambda row: (-sizes[row], row)):
        full = batches and (len(batches[-1]) + 1) * width > max_tokens
        if not batches or full or (max_requests and held + counts[row] > max_requests):
            batches.append([])
            width, held = sizes[row], 0
        batches[-1].append(row)
        held += counts[row]
    return batches


def _common(one: IntArray, other: IntArray) -> int:
    """Number of tokens at the beginning that two requests have in common."""
    size = min(len(one), len(other))
    differ = one[:size] != other[:size]
    first = int(differ.argmax()) if size else 0
    return first if size and differ[first] else size
