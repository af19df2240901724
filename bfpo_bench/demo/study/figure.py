"""The study's picture: safe against helpful, a panel per regime, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bfpo_bench.demo.methods import METHODS
from bfpo_bench.demo.preferences import REGIMES
from bfpo_bench.demo.study.arms import ARMS
from bfpo_bench.demo.study.run import START, Run
from bfpo_bench.demo.study.statistics import by_seed, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _PALE = "#222222", "#8a8a8a"
# Okabe and Ito's colours; shapes tell the methods apart without them.
_METHOD_MARKS = {
    "dpo-h": ("#E69F00", "v"),
    "dpo-s": ("#56B4E9", "^"),
    "dpo": ("#009E73", "s"),
    "ipo": ("#CC79A7", "D"),
    "bfpo": ("#D55E00", "o"),
}
_CONTROL_MARKS = {
    "dpo-buffered": ("#009E73", "s"),
    "ipo-buffered": ("#CC79A7", "D"),
    "ipo-weighted": ("#CC79A7", "X"),
    "bfpo-no-buffer": ("#D55E00", "<"),
    "bfpo-no-shift": ("#D55E00", ">"),
    "bfpo-alpha-0.25": ("#D55E00", "1"),
    "bfpo-alpha-0.75": ("#D55E00", "2"),
    "bfpo-shuffled-labels": ("#D55E00", "x"),
}
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _PALE,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _PALE,
    "ytick.color": _PALE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "svg.hashsalt": "bfpo-bench",  # the same runs give the same bytes
}


def draw(runs: Sequence[Run], folder: Path) -> None:
    """Writes ``study.png`` and ``study.svg``.

    Args:
        runs: those whose settings were chosen.
        folder: an existing one.
    """
    with mpl.rc_context(_STYLE):
        figure = _figure(runs)
        figure.savefig(folder / "study.png", dpi=160, metadata={"Software": None})
        figure.savefig(folder / "study.svg", metadata={"Date": None})


def _figure(runs: Sequence[Run]) -> Figure:
    there = {run.regime for run in runs}
    regimes = [regime for regime in REGIMES if regime in there]
    figure = Figure(figsize=(1.2 + 3.7 * len(regimes), 5.6))
    figure.subplots_adjust(left=0.07, right=0.98, top=0.86, bottom=0.31, wspace=0.12)
    panels = figure.subplots(1, len(regimes), sharex=True, sharey=True, squeeze=False)[0]
    for axes, regime in zip(panels, regimes, strict=True):
        _panel(axes, runs, regime)
        axes.set_title(regime, loc="left", fontsize=11, weight="bold")
        axes.set_xlabel("helpful (%)")
    panels[0].set_ylabel("safe (%)")
    figure.suptitle(
        "Safe against helpful, by the toy world's own truth",
        x=0.07,
        ha="left",
        fontsize=13,
        weight="bold",
    )
    # A panel may lack arms that another has.
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    order = [START, *(arm.name for arm in ARMS)]
    labels = [label for label in order if label in handles]
    figure.legend(
        [handles[label] for label in labels],
        labels,
        loc="lower left",
        bbox_to_anchor=(0.06, 0.01),
        ncols=5,
        frameon=False,
    )
    return figure


def _panel(axes: Axes, runs: Sequence[Run], regime: str) -> None:
    axes.set_xlim(-2, 102)
    axes.set_ylim(-2, 102)
    axes.grid(color="#eeeeee", linewidth=0.8)
    for arm in (START, *(one.name for one in ARMS)):
        found = by_seed(runs, "" if arm == START else regime, arm)
        if not found:
            continue
        color, marker = (_METHOD_MARKS | _CONTROL_MARKS).get(arm, (_PALE, "P"))
        solid = arm in METHODS or arm == START
        means = summary(found)
        x, y = means["helpful"], means["safe"]
        axes.errorbar(
            x.value,
            y.value,
            xerr=x.half,
            yerr=y.half,
            color=color,
            marker=marker,
            markersize=8 if solid else 6,
            markerfacecolor=color if solid else "white",
            elinewidth=1.0,
            alpha=1.0 if solid else 0.75,
            linestyle="none",
            label=arm,
            zorder=3 if solid else 2,
        )
