"""Every score of every row as a heat map, numbers in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bfpo_bench.leaderboard.columns import DISC, GEN, SAVG, TASK_COLUMNS, Column
from bfpo_bench.leaderboard.plots.style import PALE, QUIET, short_name
from bfpo_bench.leaderboard.ranking import blocks, ranks
from bfpo_bench.leaderboard.rows import Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GAP = 0.35
"""Between groups of columns, in cells."""


def draw(entries: Sequence[Entry]) -> Figure | None:
    """The picture; None when no row has a score."""
    groups = [
        [column for column in group if any(column.key in entry.cells for entry in entries)]
        for group in (
            [column for column in TASK_COLUMNS if column.group == "disc"],
            [column for column in TASK_COLUMNS if column.group == "gen"],
            [DISC, GEN, SAVG],
        )
    ]
    columns = [column for group in groups for column in group]
    rows = sorted(
        (entry for entry in entries if any(column.key in entry.cells for column in columns)),
        key=lambda entry: (entry.kind == "published", -_savg(entry)),
    )
    if not rows:
        return None
    # In inches: cells keep their size whatever the number of rows and columns.
    width, height, left, top, bottom = 0.54, 0.29, 2.7, 1.75, 0.75
    breaks = _GAP * (sum(map(bool, groups)) - 1)
    across, down = len(columns) + breaks, len(rows) + (_GAP if _mixed(rows) else 0)
    size = (left + across * width + 0.35, top + down * height + bottom)
    figure = Figure(figsize=size)
    axes = figure.add_axes(
        (left / size[0], bottom / size[1], across * width / size[0], down * height / size[1])
    )
    axes.set_xlim(0, across)
    axes.set_ylim(down, 0)
    axes.axis("off")
    best = {
        column.key: {
            row
            for block in blocks(rows).values()
            for row, rank in ranks(block, column).items()
            if rank == 1
        }
        for column in columns
    }
    y = 0.0
    for place, entry in enumerate(rows):
        if place and entry.kind != rows[place - 1].kind:
            y += _GAP
        weight = "bold" if entry.kind == "measured" else "normal"
        axes.text(-0.15, y + 0.5, short_name(entry.name), ha="right", va="center", weight=weight)
        x = 0.0
        for group in groups:
            for column in group:
                _cell(axes, entry, column, (x, y), best[column.key])
                x += 1
            x += _GAP if group else 0
        y += 1
    x = 0.0
    for group in groups:
        for column in group:
            axes.text(x + 0.35, -0.2, column.title, rotation=45, ha="left", va="bottom", fontsize=8)
            x += 1
        x += _GAP if group else 0
    figure.text(0.02, 1 - 0.32 / size[1], "Score by task", fontsize=13.5, weight="bold")
    figure.text(
        0.02,
        0.25 / size[1],
        "Percent; lighter is higher. Bold: best of its block (measured rows, each published table) "
        "among rows of one protocol. "
        "CrowS-Pairs is unbiased at 50 and enters Disc. as it is.",
        fontsize=7.5,
        color=QUIET,
    )
    return figure


def _cell(
    axes: Axes, entry: Entry, column: Column, at: tuple[float, float], best: set[int]
) -> None:
    x, y = at
    cell = entry.cells.get(column.key)
    if cell is None:
        axes.add_patch(
            Rectangle(at, 1, 1, facecolor="white", edgecolor=PALE, hatch="////", linewidth=0.4)
        )
        return
    # Cividis: its lightness rises evenly, so it says the same in grey.
    color = colormaps["cividis"](cell.value / 100)
    axes.add_patch(Rectangle(at, 1, 1, facecolor=color, edgecolor="white", linewidth=0.8))
    axes.text(
        x + 0.5,
        y + 0.53,
        f"{cell.value:.1f}",
        ha="center",
        va="center",
        fontsize=8,
        color=_readable(color),
        weight="bold" if id(entry) in best else "normal",
    )


def _readable(color: tuple[float, ...]) -> str:
    """Black or white, whichever has more contrast (WCAG 2.2) with a colour."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    luminance = 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"


def _savg(entry: Entry) -> float:
    cell = entry.cells.get(SAVG.key)
    return cell.value if cell else -1.0


def _mixed(rows: Sequence[Entry]) -> bool:
    return len({entry.kind for entry in rows}) > 1
