"""Long sequences that are made as they are read, so that memory does not grow with their length."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

T = TypeVar("T")

WINDOW = 1024
"""Entries made at a time."""

KEPT = 4
"""Windows kept; the least recently used one goes first. An engine works on the entries of one
window while the answers to those before it are stored, so each entry is made once."""


class LazySequence(Sequence[T], Generic[T]):
    """A sequence of known length whose entries are made window by window.

    Args:
        length: number of entries.
        make: the entries of a range of indices, in order; the same whenever it is asked.
    """

    def __init__(self, length: int, make: Callable[[range], list[T]]) -> None:
        self._length = length
        self._make = make
        self._windows: OrderedDict[int, list[T]] = OrderedDict()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        for number in range(-(-self._length // WINDOW)):
            yield from self._window(number)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._length))]
        # range() knows the rules for negative indices and raises IndexError past the end.
        number, place = divmod(range(self._length)[index], WINDOW)
        return self._window(number)[place]

    def _window(self, number: int) -> list[T]:
        if number in self._windows:
            self._windows.move_to_end(number)
            return self._windows[number]
        begin = number * WINDOW
        made = self._make(range(begin, min(begin + WINDOW, self._length)))
        self._windows[number] = made
        if len(self._windows) > KEPT:
            self._windows.popitem(last=False)
        return made
