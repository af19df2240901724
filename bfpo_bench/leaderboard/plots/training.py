"""Loss, reward margin and accuracy while the models were trained, one line of panels per run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import MaxNLocator

from bfpo_bench.common.figures import INK
from bfpo_bench.leaderboard.plots.style import LOOKS, QUIET, framed, grid, short_name
from bfpo_bench.leaderboard.rows import Entry
from bfpo_bench.leaderboard.runs import training_record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACCURACY = "rewards/accuracies"
_PANELS = (
    ("Loss", "loss"),
    ("Margin of implicit rewards", "rewards/margins"),
    ("Share of pairs ordered as the loss wants", _ACCURACY),
)

Series = dict[str, list[tuple[float, float]]]
"""By name of the quantity: steps and values."""


def draw(entries: Sequence[Entry]) -> Figure | None:
    """The picture of the first eight runs that were trained here; None when none was."""
    found = [
        (f"{short_name(entry.name)}  ({short_name(method)})", series)
        for entry in entries
        if entry.run is not None
        for series, method in [training_curves(entry.run)]
        if any(series.get(name) for _, name in _PANELS)
    ]
    if not found:
        return None
    shown = found[: len(LOOKS)]
    more = len(found) - len(shown)
    note = "As the trainer logged it, not smoothed; losses of different methods cannot be compared."
    text = f"{note} {more} more runs are left out." if more else note
    figure = framed("Training", text, (11, 1.4 + 1.9 * len(shown)))
    panels = figure.subplots(len(shown), len(_PANELS), squeeze=False)
    for line, (name, series) in zip(panels, shown, strict=True):
        for axes, (title, quantity) in zip(line, _PANELS, strict=True):
            head = f"{name}\n{title}" if axes is line[0] else title
            axes.set_title(head, loc="left", fontsize=9)
            _panel(axes, series, quantity)
    for axes in panels[-1]:
        axes.set_xlabel("updates")
    return figure


def training_curves(run: Path) -> tuple[Series, str]:
    """What ``training.json`` of a run logged, and the method's name; empty when there is none."""
    record = training_record(run)
    if not isinstance(record.get("curves"), list):
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
    # What is larger has no place on paper.
    return isinstance(value, int | float) and abs(value) < 1e30


def _panel(axes: Axes, series: Series, name: str) -> None:
    axes.tick_params(length=2.5, width=0.6, labelsize=8)
    grid(axes, "y")
    if not series.get(name):
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", color=QUIET)
        axes.set(xticks=[], yticks=[])
        return
    # Accuracies also stand apart by what kind of pair it was, e.g. "safe>unsafe".
    parts = sorted(part for part in series if name == _ACCURACY and part.startswith(f"{name}_"))
    for place, part in enumerate([name, *parts]):
        steps, values = zip(*series[part], strict=True)
        look = LOOKS[place % len(LOOKS)]
        whole = {"color": INK if parts else look.color, "lw": 1.9, "zorder": 3}
        axes.plot(
            steps,
            values,
            label=short_name(part.removeprefix(f"{name}_"), 16) if place else "all",
            marker="o" if len(steps) == 1 else None,
            ms=4,
            **(whole if place == 0 else {"color": look.color, "lw": 1.1, "ls": look.line}),
        )
    axes.margins(x=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if name == _ACCURACY:
        axes.set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
    if parts:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=7.5)
