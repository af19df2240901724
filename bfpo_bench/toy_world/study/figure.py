"""The study's picture: what every arm comes to, a panel per regime, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from bfpo_bench.common.figures import drawing, save
from bfpo_bench.toy_world.methods import METHODS
from bfpo_bench.toy_world.preferences import REGIMES
from bfpo_bench.toy_world.study.arms import ARMS
from bfpo_bench.toy_world.study.run import START, Run
from bfpo_bench.toy_world.study.statistics import by_seed, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PALE = "#8a8a8a"


@dataclass(frozen=True)
class _Mark:
    """How a measure is drawn; shape and filling tell them apart without colour."""

    color: str
    marker: str
    filled: bool
    lift: float
    title: str


_MARKS = {
    "safe": _Mark("#D55E00", "o", True, 0.18, "safe"),
    "helpful": _Mark("#0072B2", "s", False, -0.02, "helpful"),
    "broken": _Mark("#8a8a8a", "x", True, -0.22, "broken"),
}
_ROWS = (START, *(arm.name for arm in ARMS))


def draw(runs: Sequence[Run], folder: Path) -> None:
    """Writes ``study.png`` and ``study.svg``.

    Args:
        runs: those whose settings were chosen.
        folder: an existing one.
    """
    with drawing(_PALE):
        save(_figure(runs), folder, "study", dpi=140)


def _figure(runs: Sequence[Run]) -> Figure:
    there = {run.regime for run in runs}
    regimes = [regime for regime in REGIMES if regime in there]
    # In inches: what is beside and above the panels does not grow with their number.
    left, right, above, below = 1.75, 0.25, 1.0, 0.55
    width, height = left + right + 3.1 * len(regimes), above + below + 0.42 * len(_ROWS)
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
        _panel(axes, runs, regime)
        axes.set_title(regime, loc="left", fontsize=10.5, weight="bold")
        axes.set_xlabel("percent")
    panels[0].set_yticks(range(len(_ROWS)), _ROWS)
    panels[0].set_ylim(len(_ROWS) - 0.4, -0.6)
    panels[0].set_xlim(-3, 103)
    figure.text(
        left / width,
        1 - 0.34 / height,
        "What every method and control comes to, by the toy world's own truth",
        fontsize=12.5,
        weight="bold",
    )
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


def _panel(axes: Axes, runs: Sequence[Run], regime: str) -> None:
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    # Between the start model, the methods and the controls.
    for border in (0.5, len(METHODS) + 0.5):
        axes.axhline(border, color="#d0d0d0", linewidth=0.8)
    for row, arm in enumerate(_ROWS):
        found = by_seed(runs, "" if arm == START else regime, arm)
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
                label=mark.title if row == 0 else None,
                zorder=3,
            )
            seeds = [getattr(shares, name) for shares in found.values()]
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
