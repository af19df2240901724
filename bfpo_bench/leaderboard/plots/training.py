"""Loss, reward margin and accuracy while the models were trained, one line of panels per run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bfpo_bench.common.figures import INK, spread_out
from bfpo_bench.leaderboard.plots.style import LOOKS, QUIET, look, short_name
from bfpo_bench.leaderboard.rows import Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ACCURACY = "rewards/accuracies"
_PANELS = (
    ("Loss", "loss"),
    ("Margin of implicit rewards", "rewards/margins"),
    ("Share of pairs ordered as the loss wants", _ACCURACY),
)
_NAME_HEIGHT = 0.115
"""Room between names at the end of lines, as a share of the panel's height."""

Series = dict[str, list[tuple[float, float]]]
"""By name of the quantity: steps and values."""


def draw(entries: Sequence[Entry]) -> Figure | None:
    """The picture of the first eight runs that were trained here; None when none was."""
    found = [
        (entry, series, method)
        for entry in entries
        if entry.run is not None
        for series, method in [training_curves(entry.run)]
        if any(series.get(name) for _, name in _PANELS)
    ]
    if not found:
        return None
    shown = found[: len(LOOKS)]
    above, below, row = 1.0, 0.8, 1.75
    height = above + below + row * len(shown)
    figure = Figure(figsize=(11, height))
    figure.subplots_adjust(
        left=0.075,
        right=0.895,
        top=1 - above / height,
        bottom=below / height,
        wspace=0.24,
        hspace=0.42,
    )
    panels = figure.subplots(len(shown), len(_PANELS), squeeze=False)
    for line, (entry, series, method) in zip(panels, shown, strict=True):
        for axes, (_, name) in zip(line, _PANELS, strict=True):
            _panel(axes, series, name)
        line[0].annotate(
            f"{short_name(entry.name)}  ({short_name(method)})",
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 7),
            textcoords="offset points",
            weight="bold",
        )
    for axes, (title, _) in zip(panels[0], _PANELS, strict=True):
        axes.annotate(
            title,
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 22),
            textcoords="offset points",
            color=QUIET,
        )
    for axes in panels[-1]:
        axes.set_xlabel("updates")
    figure.text(0.02, 1 - 0.32 / height, "Training", fontsize=13.5, weight="bold")
    more = len(found) - len(shown)
    note = "As the trainer logged it, not smoothed; losses of different methods cannot be compared."
    text = f"{note} {more} more runs are left out." if more else note
    figure.text(0.02, 0.14 / height, text, fontsize=7.5, color=QUIET)
    return figure


def training_curves(run: Path) -> tuple[Series, str]:
    """What ``training.json`` of a run logged, and the method's name; empty when there is none."""
    try:
        record = json.loads((run / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}, ""
    if not isinstance(record, dict) or not isinstance(record.get("curves"), list):
        return {}, ""
    series: Series = {}
    for logged in record["curves"]:
        if not isinstance(logged, Mapping) or not _number(logged.get("step")):
            continue
        for name, value in logged.items():
            if name != "step" and _number(value):
                series.setdefault(str(name), []).append((logged["step"], value))
    return series, str(record.get("method", ""))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _panel(axes: Axes, series: Series, name: str) -> None:
    axes.tick_params(length=2.5, width=0.6, labelsize=8)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    if not series.get(name):
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", color=QUIET)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    # Accuracies also stand apart by what kind of pair it was, e.g. "safe>unsafe".
    parts = sorted(part for part in series if name == _ACCURACY and part.startswith(f"{name}_"))
    lines = [(name, "all"), *((part, part.removeprefix(f"{name}_")) for part in parts)]
    for place, (part, _) in list(enumerate(lines))[::-1]:
        steps, values = zip(*series[part], strict=True)
        kind = look(place)
        first = place == 0
        axes.plot(
            steps,
            values,
            color=INK if first and parts else kind.color,
            lw=1.9 if first else 1.1,
            ls="-" if first else kind.line,
            marker="o" if len(steps) == 1 else None,
            ms=4,
        )
    axes.margins(x=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if name == _ACCURACY:
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks([0, 0.5, 1])
    if parts:
        _name_ends(axes, series, lines)


def _name_ends(axes: Axes, series: Series, lines: Sequence[tuple[str, str]]) -> None:
    """Each line's name at its end, moved apart where they would meet."""
    low, high = axes.get_ylim()
    ends = [(series[part][-1][1] - low) / (high - low) for part, _ in lines]
    for place, ((_, title), height) in enumerate(
        zip(lines, spread_out(ends, _NAME_HEIGHT), strict=True)
    ):
        axes.annotate(
            short_name(title, 16),
            (1, height),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=INK if place == 0 else look(place).color,
            annotation_clip=False,
        )
