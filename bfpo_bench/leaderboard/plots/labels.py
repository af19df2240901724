"""Names beside points, where they cover neither each other nor a point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.patheffects import withStroke

from bfpo_bench.leaderboard.plots.style import PALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]
"""Left, bottom, right, top in pixels."""

_RADIUS = 5.0
"""Room that a point takes, in pixels at the figure's own resolution."""


@dataclass(frozen=True)
class Label:
    """A text for a point in data coordinates; the ``last`` ones take the room that is left."""

    text: str
    x: float
    y: float
    style: dict[str, Any]
    last: bool = False


def place_labels(axes: Axes, labels: Sequence[Label], blocked: Sequence[Box] = ()) -> list[Box]:
    """Writes the labels, crowded ones first; a thin line leads to those that had to go far.

    Args:
        blocked: boxes in pixels to keep free besides the points, e.g. of error bars.

    Returns:
        the boxes of the labels, in the order of ``labels``.
    """
    figure = axes.figure
    # The layout has to be settled before texts can be measured.
    figure.canvas.draw()
    frame = axes.get_window_extent()
    bounds = (frame.x0, frame.y0, frame.x1, frame.y1)
    points = [tuple(axes.transData.transform((label.x, label.y))) for label in labels]
    taken: list[Box] = [
        (x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in points
    ] + list(blocked)

    def crowd(index: int) -> float:
        x, y = points[index]
        return sum(1 / (20 + math.hypot(x - other[0], y - other[1])) for other in points)

    boxes: dict[int, Box] = {}
    for index in sorted(range(len(labels)), key=lambda i: (labels[i].last, -crowd(i), i)):
        label, point = labels[index], points[index]
        text = axes.annotate(
            label.text,
            (label.x, label.y),
            (0, 0),
            textcoords="offset points",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": PALE, "linewidth": 0.7, "shrinkA": 0},
            **label.style,
        )
        leader = text.arrow_patch
        assert leader is not None
        leader.set_visible(False)
        # Readable where a line goes by behind it.
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
        extent = text.get_window_extent()
        box = _best(point, extent.width, extent.height, taken, bounds)
        left, bottom, right, top = boxes[index] = box
        taken.append(box)
        # In points, so that the picture is the same at every resolution.
        text.xyann = (
            (left - extent.x0) * 72 / figure.dpi,
            (bottom - extent.y0) * 72 / figure.dpi,
        )
        near_x = min(max(point[0], left), right)
        near_y = min(max(point[1], bottom), top)
        far = math.hypot(near_x - point[0], near_y - point[1]) > 2.5 * _RADIUS
        leader.set_visible(far)
    return [boxes[index] for index in range(len(labels))]


def _best(
    point: tuple[float, float], width: float, height: float, taken: Sequence[Box], bounds: Box
) -> Box:
    """The nearest place around a point that is free, else the one that covers least."""
    x, y = point
    best: tuple[float, Box] | None = None
    for distance in (1.3, 2.2, 4, 6, 9, 13, 18, 24):
        for step in range(16):
            angle = 2 * math.pi * step / 16
            reach = distance * _RADIUS
            # The label's nearest edge or corner stands at that distance from the point.
            cx = x + math.cos(angle) * (reach + width / 2)
            cy = y + math.sin(angle) * (reach + height / 2)
            box = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
            outside = max(
                bounds[0] - box[0], box[2] - bounds[2], bounds[1] - box[1], box[3] - bounds[3], 0
            )
            covered = sum(_overlap(box, other) for other in taken)
            cost = 100 * covered + 1000 * outside + distance
            if best is None or cost < best[0]:
                best = (cost, box)
    assert best is not None
    return best[1]


def _overlap(one: Box, two: Box) -> float:
    width = min(one[2], two[2]) - max(one[0], two[0]) + 1
    height = min(one[3], two[3]) - max(one[1], two[1]) + 1
    return width * height if width > 0 and height > 0 else 0.0
