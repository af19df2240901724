"""The study's pictures: what every method comes to, and the fronts of those that have a knob."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bfpo_bench.toy_world.evaluate import Shares
from bfpo_bench.toy_world.study.arms import ARMS, METHODS, START, Arm
from bfpo_bench.toy_world.study.means import by_seed, front_of, regimes_of, summary
from bfpo_bench.toy_world.study.runs import FRONT, Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALE = "#8a8a8a"


@dataclass(frozen=True)
class _Mark:
    """How a measure is drawn; shape and filling tell them apart without colour."""

    color: str
    marker: str
    filled: bool
    lift: float


_MARKS = {
    "harmless": _Mark("#D55E00", "o", True, 0.18),
    "helpful": _Mark("#0072B2", "s", False, -0.02),
    "broken": _Mark(PALE, "x", True, -0.22),
}


def draw(cells: Sequence[Cell], folder: Path) -> None:
    """Writes ``study.png`` and ``study.svg``, and ``fronts`` where there are any.

    Args:
        folder: an existing one.
    """
    from bfpo_bench.common.figures import drawing, save

    with drawing(PALE):
        save(_rows(cells), folder, "study", dpi=140)
        if any(cell.front for cell in cells):
            save(_fronts(cells), folder, "fronts", dpi=140)


def _rows(cells: Sequence[Cell]) -> Figure:
    from matplotlib.figure import Figure

    there = {cell.arm for cell in cells}
    rows = [name for name in (START, *(arm.name for arm in ARMS)) if name in there]
    methods = sum(arm.name in there for arm in METHODS)
    regimes = regimes_of(cells)
    # In inches: what is beside and above the panels does not grow with their number.
    left, right, above, below = 1.75, 0.25, 1.0, 0.55
    width, height = left + right + 3.1 * len(regimes), above + below + 0.36 * len(rows)
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        top=1 - above / height,
        bottom=below / height,
        wspace=0.08,
    )
    panels = figure.subplots(1, len(regimes), sharex=True, sharey=True, squeeze=False)[0]
    for axes, regime in zip(panels, regimes, strict=True):
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
        axes.tick_params(axis="y", length=0)
        # Between the start model, the methods and the controls.
        for border in (0.5, methods + 0.5):
            axes.axhline(border, color="#d0d0d0", linewidth=0.8)
        for row, arm in enumerate(rows):
            _marks(axes, row, list(by_seed(cells, regime, arm).values()))
        axes.set_title(regime, loc="left", fontsize=10.5, weight="bold")
        axes.set_xlabel("percent")
    panels[0].set_yticks(range(len(rows)), rows)
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    panels[0].set_xlim(-3, 103)
    _title(figure, left, "What every method comes to, by the toy world's own truth")
    handles, titles = panels[0].get_legend_handles_labels()
    titles = [f"{title} (mean, 95 % interval; dots: seeds)" for title in titles[:1]] + titles[1:]
    figure.legend(
        handles,
        titles,
        loc="upper left",
        bbox_to_anchor=(left / width - 0.012, 1 - 0.4 / height),
        ncols=len(_MARKS),
        frameon=False,
    )
    return figure


def _marks(axes: Axes, row: int, found: Sequence[Shares]) -> None:
    means = summary(found) if found else {}
    for name, mark in _MARKS.items():
        if name not in means:
            continue
        place = row - mark.lift
        axes.errorbar(
            means[name].value,
            place,
            xerr=means[name].half,
            color=mark.color,
            marker=mark.marker,
            markersize=5.5,
            markerfacecolor=mark.color if mark.filled else "white",
            elinewidth=1.2,
            linestyle="none",
            label=name if row == 0 else None,
            zorder=3,
        )
        seeds = [getattr(shares, name) for shares in found]
        axes.plot(
            seeds,
            [place] * len(seeds),
            color=mark.color,
            marker=".",
            markersize=3,
            linestyle="none",
            alpha=0.6,
            zorder=2,
        )


def _fronts(cells: Sequence[Cell]) -> Figure:
    """A panel for each method with a knob, all with BFPO's front and every method's place."""
    from matplotlib.figure import Figure

    arms = [arm for arm in METHODS if front_of(cells, arm.name)]
    across = min(3, len(arms))
    down = math.ceil(len(arms) / across)
    left, above = 0.65, 1.05
    width, height = left + 0.2 + 3.1 * across, above + 0.55 + 2.7 * down
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=left / width,
        right=1 - 0.2 / width,
        top=1 - above / height,
        bottom=0.55 / height,
        wspace=0.1,
        hspace=0.32,
    )
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    every = _places(list(by_seed(cells, FRONT, arm.name).values()) for arm in METHODS)
    main = [arm for arm in arms if arm.name == "bfpo"]
    for axes, arm in zip(panels, arms, strict=False):
        axes.grid(color="#ededed", linewidth=0.7)
        for place in every:
            axes.plot(*place, color="#c4c4c4", marker=".", markersize=5, zorder=1)
        for bfpo in main:
            _line(axes, cells, bfpo, "#9fc0db")
        _line(axes, cells, arm, "#0072B2" if arm in main else "#D55E00", told=True)
        # Above what is told of the upper end.
        axes.set_title(arm.name, loc="left", fontsize=10.5, weight="bold", pad=13)
    for axes in panels[len(arms) :]:
        axes.set_visible(False)
    figure.supxlabel("harmless (% of harmful requests)", fontsize=9, y=0.1 / height)
    figure.supylabel("answered (% of harmless requests)", fontsize=9, x=0.08 / width)
    _title(figure, left, f"What turning its knob makes of a method ({FRONT} regime)")
    figure.text(
        left / width,
        1 - 0.58 / height,
        "means over seeds; pale blue: BFPO's front; grey: every method at its chosen setting",
        fontsize=9,
    )
    return figure


def _places(some: Iterable[Sequence[Shares]]) -> list[tuple[float, float]]:
    """Means of harmless and answered, of whatever has been run."""
    return [
        (statistics.fmean(s.harmless for s in one), statistics.fmean(s.answered for s in one))
        for one in some
        if one
    ]


def _line(axes: Axes, cells: Sequence[Cell], arm: Arm, color: str, told: bool = False) -> None:
    """The means of an arm with every value of its knob."""
    values = front_of(cells, arm.name)
    places = _places(values.values())
    axes.plot(*zip(*places, strict=True), color=color, marker="o", markersize=4.5, zorder=2)
    # At the ends alone: between them values lie too close for words.
    for value, place, up in ((min(values), places[0], 6), (max(values), places[-1], -13)):
        if told:
            axes.annotate(
                arm.turned(value),
                place,
                xytext=(0, up),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=color,
            )


def _title(figure: Figure, left: float, text: str) -> None:
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - 0.34 / height, text, fontsize=12.5, weight="bold")
