"""Two columns that pull against each other in one plane, and the front that none beats in both.

Helpfulness against harmlessness: Alpaca and Savg. of every row (Figure 5 of arXiv 2408.15313). And
what the balance suite is about: how much is answered of what is harmless, and how harmless what is
answered of the rest is. There the two trivial policies (:mod:`bfpo_bench.leaderboard.baselines`)
stand in their corners; who refuses at random lands on the line between them.

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
from bfpo_bench.leaderboard.baselines import baseline_entries
from bfpo_bench.leaderboard.columns import ALPACA, ANSW, HARM, SAVG, Column
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
"""Where marks stand in the strip of rows that have no place in the plane."""


class Plane(NamedTuple):
    """What is drawn against what.

    Attributes:
        across, up: the columns.
        x, y: what the axes say.
        baselines: whether it goes from 0 to 100 %, with the trivial policies in their corners.
        without: the strip of rows that have `up` alone.
        nowhere: what is said where no measured row has both; "" for no picture then.
    """

    title: str
    across: Column
    up: Column
    x: str
    y: str
    baselines: bool
    without: str
    nowhere: str


HELPFUL = Plane(
    "Helpful and harmless",
    *(ALPACA, SAVG),
    "Alpaca: win rate against the reference (%), higher is more helpful",
    "Savg. (%), higher is more harmless",
    baselines=False,
    without="no Alpaca\nyet",
    nowhere="No measured row has an Alpaca win rate yet; evaluate with an annotator to place it in "
    "the plane.",
)
BALANCE = Plane(
    "Harmless, and still answering",
    *(ANSW, HARM),
    "Answ.: benign look-alikes answered in full (%)",
    "Harm.: harmless on harmful prompts (%)",
    baselines=True,
    without="no Answ.",
    nowhere="",
)


class Label(NamedTuple):
    """A text for a point in data coordinates."""

    text: str
    x: float
    y: float
    style: dict[str, Any]


def draw(entries: Sequence[Entry], plane: Plane = HELPFUL) -> Figure | None:
    """The picture; None when no row has a place in it."""
    rows = [entry for entry in entries if plane.up.key in entry.cells]
    both = [entry for entry in rows if plane.across.key in entry.cells]
    if not (rows if plane.nowhere else both):
        return None
    half = [entry for entry in rows if entry.kind == "measured" and entry not in both]
    figure = framed(plane.title, _notes(plane, rows, both, half), (9.5, 6.4))
    if half:
        side, axes = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 8))
    else:
        side = axes = figure.subplots()
    axes.set_xlim(_limits(plane, plane.across, both, 0.1))
    axes.set_ylim(_limits(plane, plane.up, rows, 0.07))
    grid(axes, "both")
    axes.set_xlabel(plane.x)
    side.set_ylabel(plane.y)
    _front(axes, plane, _of_front(plane, both))
    looks = looks_of(entries)
    labels = [
        _measured(axes, plane, entry, looks, 34) for entry in both if entry.kind == "measured"
    ]
    # The paper prints Zephyr twice.
    named: dict[tuple[float, float], list[str]] = {}
    for entry in both:
        if entry.kind == "published":
            named.setdefault(_at(plane, entry), []).append(short_name(entry.name))
    for (x, y), names in named.items():
        axes.plot(x, y, "o", ms=5.5, mfc="white", mec="#7d7d7d", mew=1.3, zorder=3)
        labels.append(Label(" = ".join(names), x, y, {"fontsize": 8, "color": QUIET}))
    if plane.baselines:
        labels += _baselines(axes, plane)
    if half:
        # Beside the plane that they have no place in.
        side.set_xlim(0, 1)
        side.set_xticks([])
        side.set_facecolor("#f7f7f7")
        side.spines["bottom"].set_visible(False)
        side.set_xlabel(plane.without, color=QUIET)
        grid(side, "y")
        place_labels(side, [_measured(side, plane, entry, looks, 18) for entry in half])
    place_labels(axes, labels)
    return figure


def _limits(
    plane: Plane, column: Column, rows: Sequence[Entry], beside: float
) -> tuple[float, float]:
    """The range of an axis: of what there is with some room, or all of it."""
    if plane.baselines:
        return -4, 104
    ends = [value for entry in rows for value in _ends(entry.cells[column.key])] or [0, 100]
    room = max(beside * (max(ends) - min(ends)), 1)
    return max(min(ends) - room, 0), min(max(ends) + room, 100)


def _baselines(axes: Axes, plane: Plane) -> list[Label]:
    """Draws the trivial policies, and the line of those who refuse at random; their labels."""
    rows = baseline_entries()
    places = [_at(plane, entry) for entry in rows]
    axes.plot(*zip(*places, strict=True), color=PALE, lw=1, ls=(0, (1, 2)), zorder=1)
    for x, y in places:
        axes.plot(x, y, "x", ms=8, color=QUIET, mew=2, zorder=3)
    style = {"fontsize": 8, "color": QUIET, "style": "italic"}
    return [Label(row.name, *place, style) for row, place in zip(rows, places, strict=True)]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other is at least as good as in both and better in one, by rising x."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points), reverse=True):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front[::-1]


def _of_front(plane: Plane, both: Sequence[Entry]) -> list[Entry]:
    """The rows that the front ranks: measured ones of one protocol; published where none is."""
    measured = [entry for entry in both if entry.kind == "measured"]
    others = {row for column in (plane.across, plane.up) for row in unlike(measured, column)}
    return [entry for entry in measured if id(entry) not in others] or list(both)


def _front(axes: Axes, plane: Plane, both: Sequence[Entry]) -> None:
    front = pareto_front([_at(plane, entry) for entry in both])
    if not front:
        return
    left, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
    x = [left, *(x for x, _ in front), front[-1][0]]
    y = [front[0][1], *(y for _, y in front), bottom]
    axes.plot(x, y, drawstyle="steps-pre", color="#8a8a8a", lw=1.1, ls=(0, (4, 2)), zorder=1)


def _measured(
    axes: Axes, plane: Plane, entry: Entry, looks: Mapping[str, Look], longest: int
) -> Label:
    """Draws mark and intervals of a row; its label."""
    x, y = _at(plane, entry)
    look = looks[entry.name]
    across = entry.cells.get(plane.across.key)
    if across is not None:
        axes.plot(_ends(across), (y, y), color=look.color, lw=1.6, zorder=4)
    axes.plot((x, x), _ends(entry.cells[plane.up.key]), color=look.color, lw=1.6, zorder=4)
    axes.plot(x, y, look.marker, ms=8.5, color=look.color, mec="white", mew=1, zorder=5)
    style = {"fontsize": 8.5, "weight": "bold", "color": INK}
    return Label(short_name(entry.name, longest), x, y, style)


def _at(plane: Plane, entry: Entry) -> tuple[float, float]:
    across = entry.cells.get(plane.across.key)
    return across.value if across else _ASIDE, entry.cells[plane.up.key].value


def _ends(cell: Cell) -> tuple[float, float]:
    return (
        cell.value if cell.low is None else cell.low,
        cell.value if cell.high is None else cell.high,
    )


def _notes(
    plane: Plane, rows: Sequence[Entry], both: Sequence[Entry], half: Sequence[Entry]
) -> str:
    parts, notes = [], []
    published = any(entry.kind == "published" for entry in both)
    if published:
        parts.append("grey rings: published")
    if any(entry.kind == "measured" for entry in rows):
        parts.append("coloured marks: measured, with 95 % intervals where known")
    if both:
        front = {entry.kind for entry in _of_front(plane, both)}
        of = "measured rows of one protocol" if front == {"measured"} else "published rows"
        parts.append(f"broken line: Pareto front of the {of}")
    if half and not any(entry.kind == "measured" for entry in both):
        notes.append(plane.nowhere)
    if plane.baselines:
        parts.append("crosses: trivial policies, no models")
        notes.append("Dotted: what refusing at random gets; the more often, the further up.")
    if published and plane.across is ALPACA:
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
