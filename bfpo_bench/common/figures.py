"""What all pictures share: their style, how they are saved, and names that do not meet."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

INK = "#222222"


@contextmanager
def drawing(pale: str, settings: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Within it, figures have the house's style.

    Args:
        pale: colour of axes and ticks.
        settings: of matplotlib's, besides.
    """
    house: dict[Any, Any] = {
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": pale,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": pale,
        "ytick.color": pale,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "svg.hashsalt": "bfpo-bench",  # the same numbers give the same bytes
    }
    with mpl.rc_context(house | dict(settings or {})), warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes; a name in them is no reason to complain.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def save(figure: Figure, folder: Path, name: str, dpi: int) -> list[Path]:
    """Writes ``name.png`` and ``name.svg`` without a date or a version in them."""
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    figure.savefig(png, dpi=dpi, metadata={"Software": None})
    figure.savefig(svg, metadata={"Date": None})
    return [png, svg]


def spread_out(places: Sequence[float], apart: float) -> list[float]:
    """Places near the given ones, in the same order, at least so far apart, within 0 and 1."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    # Blocks of touching names: [sum of the wished first places, members].
    blocks: list[tuple[float, list[int]]] = []
    for index in order:
        total, members = places[index], [index]
        while blocks and blocks[-1][0] / len(blocks[-1][1]) + apart * len(blocks[-1][1]) > (
            total / len(members)
        ):
            before, earlier = blocks.pop()
            total = before + total - apart * len(earlier) * len(members)
            members = earlier + members
        blocks.append((total, members))
    result = [0.0] * len(places)
    for total, members in blocks:
        for rank, index in enumerate(members):
            result[index] = total / len(members) + apart * rank
    # Back into the panel from above, then from below; with room for all, neither undoes the other.
    ceiling, floor = 1.0, 0.0
    for index in reversed(order):
        result[index] = min(result[index], ceiling)
        ceiling = result[index] - apart
    for index in order:
        result[index] = max(result[index], floor)
        floor = result[index] + apart
    return result
