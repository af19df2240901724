"""The time of a whole stage from a few timed pieces of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

PIECES = 3
"""Timed pieces of each stage; their spread is the uncertainty."""

PIECE_SECONDS = 1.0
"""Pieces of judging grow until one takes so long."""


@dataclass(frozen=True)
class StageTime:
    """The time of one stage, extrapolated.

    Attributes:
        stage: ``"load model"``, ``"score"``, ``"respond"``, ``"load judge"`` or ``"judge"``.
        seconds: expected for the whole run.
        low, high: the same by the fastest and by the slowest piece.
        note: what was timed.
    """

    stage: str
    seconds: float
    low: float
    high: float
    note: str


def spread(counts: Sequence[int], size: int, piece: int) -> list[tuple[int, int]]:
    """Places at equal distances in several lists that are laid end to end.

    Args:
        counts: lengths of the lists.
        size: how many places.
        piece: 0 to ``PIECES - 1``; each has places of its own.

    Returns:
        (number of the list, index in it) of each place.
    """
    total = sum(counts)
    found = []
    for step in range(size):
        position = int((step + (piece + 0.5) / PIECES) * total / size)
        for place, count in enumerate(counts):
            if position < count:
                found.append((place, position))
                break
            position -= count
    return found


def time_pieces(run: Callable[[int, int], int], size: int, most: int) -> list[tuple[float, int]]:
    """Seconds and requests of each piece, once pieces are large enough to be timed.

    Args:
        run: does the work of a piece of a size; returns the number of its requests.
        size: to begin with.
        most: larger pieces than that are pointless.
    """

    def timed(piece: int) -> tuple[float, int]:
        begin = time.perf_counter()
        requests = run(size, piece)
        return time.perf_counter() - begin, requests

    timed(0)  # to warm up
    while True:
        spent, _ = timed(0)
        if spent >= PIECE_SECONDS or size >= most:
            break
        size = min(most, math.ceil(size * min(8.0, 1.2 * PIECE_SECONDS / max(spent, 1e-6))))
    return [timed(piece) for piece in range(PIECES)]


def extrapolate(
    stage: str, unit: str, total: int, pieces: Sequence[tuple[float, int]]
) -> StageTime:
    """The time of a whole stage from its timed pieces.

    Args:
        unit: what its requests are called.
        total: requests of the stage.
        pieces: (seconds, requests) of each.
    """
    seconds, requests = (sum(values) for values in zip(*pieces, strict=True))
    each = [spent / count for spent, count in pieces]
    rate = requests / seconds
    shown = f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
    return StageTime(
        stage,
        seconds=total / rate,
        low=total * min(each),
        high=total * max(each),
        note=f"{total:,} {unit} at {shown}/s, timed {len(pieces)} × {requests // len(pieces)}",
    )


def at_most(found: StageTime, longer: float, why: str) -> StageTime:
    """The same where the whole run's requests may take so many times longer than the sample's."""
    if longer <= 1:
        return found
    high = found.high * longer
    return replace(found, seconds=(found.low + high) / 2, high=high, note=found.note + why)
