"""What the pictures share: their frame, and how runs differ by colour, marker and line alike.

The colours are Okabe and Ito's, which the usual kinds of colour blindness tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bfpo_bench.leaderboard.ranking import by_savg
from bfpo_bench.leaderboard.render.escaping import name_text
from bfpo_bench.leaderboard.rows import Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUIET, PALE, GRID = "#5c5c5c", "#b5b5b5", "#e6e6e6"


@dataclass(frozen=True)
class Look:
    """How one run is drawn."""

    color: str
    marker: str
    line: Any


LOOKS = (
    Look("#0072B2", "o", "-"),
    Look("#D55E00", "s", (0, (5, 1.5))),
    Look("#009E73", "D", (0, (1.5, 1.2))),
    Look("#CC79A7", "^", (0, (5, 1.5, 1, 1.5))),
    Look("#E69F00", "v", (0, (3, 1))),
    Look("#56B4E9", "P", (0, (8, 2))),
    Look("#222222", "X", (0, (1, 2))),
    Look("#7A5195", "p", (0, (4, 1, 1, 1, 1, 1))),
)
"""More runs than these nobody can tell apart in one picture."""


def framed(title: str, note: str, size: tuple[float, float]) -> Figure:
    """An empty picture under its title, with a note at its foot; what is in it finds its room."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=13.5, weight="bold")
    figure.supxlabel(note, x=0.01, ha="left", fontsize=7.5, color=QUIET)
    return figure


def grid(axes: Axes, which: str) -> None:
    """Pale lines behind what is drawn.

    Args:
        which: ``"x"``, ``"y"`` or ``"both"``.
    """
    axes.grid(axis=which, color=GRID, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def measured(entries: Sequence[Entry]) -> list[Entry]:
    """The measured rows, highest Savg. first, those without one last."""
    return sorted((entry for entry in entries if entry.kind == "measured"), key=by_savg)


def looks_of(entries: Sequence[Entry]) -> dict[str, Look]:
    """Look of each measured row by name, equal in all pictures; the ninth is as the first."""
    return {entry.name: LOOKS[n % len(LOOKS)] for n, entry in enumerate(measured(entries))}


def short_name(name: str, longest: int = 34) -> str:
    """A model's name (untrusted text) on one line, with its middle cut out when it is long."""
    whole = name_text(name)
    if len(whole) <= longest:
        return whole
    half = (longest - 1) // 2
    return f"{whole[:half]}…{whole[-half:]}"
