"""What all pictures share: their style, and how they are saved."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
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
