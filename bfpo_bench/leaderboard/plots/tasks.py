"""Every score of every row as a heat map, numbers in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib import colormaps
from matplotlib.patches import Rectangle

from bfpo_bench.leaderboard.columns import DISC, GEN, SAVG, TASK_COLUMNS, Column
from bfpo_bench.leaderboard.plots.style import PALE, framed, short_name
from bfpo_bench.leaderboard.ranking import blocks, by_savg, ranks
from bfpo_bench.leaderboard.rows import Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAP = 0.35
"""Between groups of columns, and between measured and published rows, in cells."""

_NOTE = (
    "Percent; lighter is higher. Bold: best of its block (measured rows, each published table) "
    "among rows of one protocol. CrowS-Pairs is unbiased at 50 and enters Disc. as it is."
)


def draw(entries: Sequence[Entry]) -> Figure | None:
    """The picture; None when no row has a score."""
    # By group, so that the averages of both stand together.
    averages = [DISC, GEN, SAVG]
    columns = [
        (group, column)
        for group, some in (("disc", TASK_COLUMNS), ("gen", TASK_COLUMNS), ("average", averages))
        for column in some
        if column.group == group and any(column.key in entry.cells for entry in entries)
    ]
    rows = [
        (entry.kind, entry)
        for entry in sorted(entries, key=lambda one: (one.kind == "published", by_savg(one)))
        if any(column.key in entry.cells for _, column in columns)
    ]
    if not rows:
        return None
    xs, across = _places([group for group, _ in columns])
    ys, down = _places([kind for kind, _ in rows])
    # Cells keep their size whatever the number of rows and columns.
    figure = framed("Score by task", _NOTE, (3.1 + 0.54 * across, 2.5 + 0.29 * down))
    axes = figure.subplots()
    axes.set(xlim=(0, across), ylim=(down, 0))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    titles = [column.title for _, column in columns]
    axes.set_xticks([x + 0.5 for x in xs], titles, rotation=45, ha="left", fontsize=8)
    axes.set_yticks([y + 0.5 for y in ys], [short_name(entry.name) for _, entry in rows])
    for label, (kind, _) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if kind == "measured" else "normal")
    for x, (_, column) in zip(xs, columns, strict=True):
        best: dict[int, int] = {}
        for block in blocks(entry for _, entry in rows).values():
            best |= ranks(block, column)
        for y, (_, entry) in zip(ys, rows, strict=True):
            _cell(axes, entry, column, (x, y), best.get(id(entry)) == 1)
    return figure


def _places(kinds: Sequence[str]) -> tuple[list[float], float]:
    """Where each cell begins, with a gap where the kind changes; where the last one ends."""
    places, at = [], 0.0
    for number, kind in enumerate(kinds):
        at += _GAP if number and kind != kinds[number - 1] else 0
        places.append(at)
        at += 1
    return places, at


def _cell(axes: Axes, entry: Entry, column: Column, at: tuple[float, float], best: bool) -> None:
    cell = entry.cells.get(column.key)
    if cell is None:
        axes.add_patch(Rectangle(at, 1, 1, fc="white", ec=PALE, hatch="////", linewidth=0.4))
        return
    # Cividis: its lightness rises evenly, so it says the same in grey.
    color = colormaps["cividis"](cell.value / 100)
    axes.add_patch(Rectangle(at, 1, 1, fc=color, ec="white", linewidth=0.8))
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
    style |= {"color": _readable(color), "weight": "bold" if best else "normal"}
    axes.text(at[0] + 0.5, at[1] + 0.53, f"{cell.value:.1f}", **style)


def _readable(color: tuple[float, ...]) -> str:
    """Black or white, whichever has more contrast (WCAG 2.2) with a colour."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    luminance = 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"
