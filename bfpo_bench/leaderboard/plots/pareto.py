"""Helpfulness against harmlessness: Alpaca and Savg. of every row (Figure 5 of arXiv 2408.15313).

Published rows are grey rings, measured ones coloured marks with their 95 % intervals. The step line
is the Pareto front: of the rows on it, none is beaten in both. It is drawn through rows of one
protocol only, as what was measured otherwise is not ranked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from bfpo_bench.common.figures import INK
from bfpo_bench.leaderboard.columns import ALPACA, SAVG
from bfpo_bench.leaderboard.plots.style import (
    PALE,
    QUIET,
    Look,
    framed,
    grid,
    looks_of,
    short_name,
)
from bfpo_bench.leaderboard.ranking import unlike
from bfpo_bench.leaderboard.rows import Cell, Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RADIUS = 5.0
"""Room that a point takes, in pixels at the figure's own resolution."""

_ASIDE = 0.12
"""Where marks stand in the strip of rows without Alpaca."""


class Label(NamedTuple):
    """A text for a point in data coordinates."""

    text: str
    x: float
    y: float
    style: dict[str, Any]


def draw(entries: Sequence[Entry]) -> Figure | None:
    """The picture; None when no row has a Savg."""
    rows = [entry for entry in entries if SAVG.key in entry.cells]
    if not rows:
        return None
    both = [entry for entry in rows if ALPACA.key in entry.cells]
    half = [entry for entry in rows if entry.kind == "measured" and entry not in both]
    figure = framed("Helpful and harmless", _notes(rows, both, half), (9.5, 6.4))
    if half:
        side, axes = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 8))
    else:
        side = axes = figure.subplots()
    ends = [value for entry in rows for value in _ends(entry.cells[SAVG.key])]
    room = max(0.07 * (max(ends) - min(ends)), 1)
    axes.set_ylim(max(min(ends) - room, 0), min(max(ends) + room, 100))
    across = [value for entry in both for value in _ends(entry.cells[ALPACA.key])] or [0, 100]
    room = max(0.1 * (max(across) - min(across)), 1)
    axes.set_xlim(max(min(across) - room, 0), min(max(across) + room, 100))
    grid(axes, "both")
    axes.set_xlabel("Alpaca: win rate against the reference (%), higher is more helpful")
    side.set_ylabel("Savg. (%), higher is more harmless")
    _front(axes, _of_front(both))
    looks = looks_of(entries)
    labels = [_measured(axes, entry, looks, 34) for entry in both if entry.kind == "measured"]
    # The paper prints Zephyr twice.
    named: dict[tuple[float, float], list[str]] = {}
    for entry in both:
        if entry.kind == "published":
            named.setdefault(_at(entry), []).append(short_name(entry.name))
    for (x, y), names in named.items():
        axes.plot(x, y, "o", ms=5.5, mfc="white", mec="#7d7d7d", mew=1.3, zorder=3)
        labels.append(Label(" = ".join(names), x, y, {"fontsize": 8, "color": QUIET}))
    if half:
        # Beside the plane that they have no place in.
        side.set_xlim(0, 1)
        side.set_xticks([])
        side.set_facecolor("#f7f7f7")
        side.spines["bottom"].set_visible(False)
        side.set_xlabel("no Alpaca\nyet", color=QUIET)
        grid(side, "y")
        place_labels(side, [_measured(side, entry, looks, 18) for entry in half])
    place_labels(axes, labels)
    return figure


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other is at least as good as in both and better in one, by rising x."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points), reverse=True):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front[::-1]


def _of_front(both: Sequence[Entry]) -> list[Entry]:
    """The rows that the front ranks: measured ones of one protocol; published where none is."""
    measured = [entry for entry in both if entry.kind == "measured"]
    others = {row for column in (ALPACA, SAVG) for row in unlike(measured, column)}
    return [entry for entry in measured if id(entry) not in others] or list(both)


def _front(axes: Axes, both: Sequence[Entry]) -> None:
    front = pareto_front([_at(entry) for entry in both])
    if not front:
        return
    left, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
    x = [left, *(x for x, _ in front), front[-1][0]]
    y = [front[0][1], *(y for _, y in front), bottom]
    axes.plot(x, y, drawstyle="steps-pre", color="#8a8a8a", lw=1.1, ls=(0, (4, 2)), zorder=1)


def _measured(axes: Axes, entry: Entry, looks: Mapping[str, Look], longest: int) -> Label:
    """Draws mark and intervals of a row; its label."""
    x, y = _at(entry)
    look = looks[entry.name]
    if ALPACA.key in entry.cells:
        axes.plot(_ends(entry.cells[ALPACA.key]), (y, y), color=look.color, lw=1.6, zorder=4)
    axes.plot((x, x), _ends(entry.cells[SAVG.key]), color=look.color, lw=1.6, zorder=4)
    axes.plot(x, y, look.marker, ms=8.5, color=look.color, mec="white", mew=1, zorder=5)
    style = {"fontsize": 8.5, "weight": "bold", "color": INK}
    return Label(short_name(entry.name, longest), x, y, style)


def _at(entry: Entry) -> tuple[float, float]:
    alpaca = entry.cells.get(ALPACA.key)
    return alpaca.value if alpaca else _ASIDE, entry.cells[SAVG.key].value


def _ends(cell: Cell) -> tuple[float, float]:
    return (
        cell.value if cell.low is None else cell.low,
        cell.value if cell.high is None else cell.high,
    )


def _notes(rows: Sequence[Entry], both: Sequence[Entry], half: Sequence[Entry]) -> str:
    parts, notes = [], []
    published = any(entry.kind == "published" for entry in both)
    if published:
        parts.append("grey rings: published")
    if any(entry.kind == "measured" for entry in rows):
        parts.append("coloured marks: measured, with 95 % intervals where known")
    if both:
        front = {entry.kind for entry in _of_front(both)}
        of = "measured rows of one protocol" if front == {"measured"} else "published rows"
        parts.append(f"broken line: Pareto front of the {of}")
    if half and not any(entry.kind == "measured" for entry in both):
        notes.append(
            "No measured row has an Alpaca win rate yet; evaluate with an annotator to place it "
            "in the plane."
        )
    if published:
        notes.append(
            "The published win rates are partly raw, partly length-controlled (see the table's "
            "notes)."
        )
    text = ", ".join(parts)
    return "\n".join([f"{text[:1].upper()}{text[1:]}.", *notes])


def place_labels(axes: Axes, labels: Sequence[Label]) -> list[Bbox]:
    """Writes names beside points, each at the nearest place where they cover nothing.

    A thin line leads to those that had to go far.

    Returns:
        the boxes of the labels in pixels, in the order of ``labels``.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    # The layout has to be settled before texts can be measured, and to stay as it is.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    frame = axes.get_window_extent()
    points = axes.transData.transform([(label.x, label.y) for label in labels] or [(0, 0)])
    taken = [Bbox.from_bounds(x, y, 0, 0).padded(_RADIUS) for x, y in points]
    taken += [line.get_window_extent() for line in axes.lines if line.get_zorder() == 4]
    boxes = []
    for label, point in zip(labels, points, strict=False):
        text = axes.annotate(
            label.text,
            (label.x, label.y),
            (0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": PALE, "linewidth": 0.7, "shrinkA": 0},
            # Readable where a line goes by behind it.
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            **label.style,
        )
        extent = text.get_window_extent()
        moves = _moves(extent.width, extent.height)
        extent = extent.translated(*(point - (extent.p0 + extent.p1) / 2))

        def cost(move: tuple[float, float], extent: Bbox = extent) -> int:
            box = extent.translated(*move)
            out = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
            return int(10 * out + box.count_overlaps(taken))

        move = min(moves, key=cost)
        boxes.append(extent.translated(*move))
        taken.append(boxes[-1])
        # In points, so that the picture is the same at every resolution.
        text.xyann = (move[0] * 72 / figure.dpi, move[1] * 72 / figure.dpi)
        assert text.arrow_patch is not None
        text.arrow_patch.set_visible(moves.index(move) >= 32)
    return boxes


def _moves(width: float, height: float) -> list[tuple[float, float]]:
    """Where the middle of a box can stand around a point, the nearest first; 16 ways of each."""
    return [
        (x * (reach * _RADIUS + width / 2), y * (reach * _RADIUS + height / 2))
        for reach in (1.3, 2.2, 4, 6, 9, 13, 18, 24)
        for step in range(16)
        for x, y in [(math.cos(math.pi * step / 8), math.sin(math.pi * step / 8))]
    ]
