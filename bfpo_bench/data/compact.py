"""Rows that take little memory: a tenth of that of as many dictionaries."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

from bfpo_bench.data.source import Row

BLOCK = 256
"""Rows that are compressed together."""


class CompactRows(Sequence[Row]):
    """Canonical rows, compressed in blocks; a row is made when it is asked for.

    The block last read is kept, so reading rows in order unpacks each block once.

    Args:
        rows: JSON-able dictionaries with text keys.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self._blocks: list[bytes] = []
        self._length = 0
        source = iter(rows)
        while block := list(islice(source, BLOCK)):
            # Level 1: half the time of the default for nearly the same size.
            self._blocks.append(zlib.compress(json.dumps(block).encode("ascii"), 1))
            self._length += len(block)
        self._last: tuple[int, list[Row]] = (-1, [])

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Row]:
        for number in range(len(self._blocks)):
            yield from self._block(number)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._length))]
        # range() knows the rules for negative indices and raises IndexError past the end.
        number, place = divmod(range(self._length)[index], BLOCK)
        return self._block(number)[place]

    def _block(self, number: int) -> list[Row]:
        # One tuple, replaced as a whole: another thread sees the old block or the new one.
        known, rows = self._last
        if known != number:
            rows = json.loads(zlib.decompress(self._blocks[number]))
            self._last = (number, rows)
        return rows
