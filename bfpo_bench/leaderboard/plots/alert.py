"""Share of harmless responses to ALERT and ALERT Adversarial by category of the prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from bfpo_bench.common.errors import BenchError
from bfpo_bench.common.statistics import wilson
from bfpo_bench.leaderboard.plots.style import (
    LOOKS,
    QUIET,
    Look,
    by_savg,
    looks_of,
    short_name,
)
from bfpo_bench.leaderboard.rows import Entry
from bfpo_bench.run.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TASKS = {"bfpo_alert": "ALERT", "bfpo_alert_adversarial": "ALERT Adversarial"}

Counts = dict[str, tuple[int, int]]
"""By category: harmless responses, and all."""


def draw(entries: Sequence[Entry]) -> Figure | None:
    """The picture of the first eight measured rows; None when none has answered ALERT."""
    runs = [entry for entry in by_savg(entries) if entry.run is not None]
    shown, looks = runs[: len(LOOKS)], looks_of(entries)
    counts = [
        (entry, {task: category_counts(entry.run, task, entry.judge) for task in _TASKS})
        for entry in shown
        if entry.run is not None
    ]
    counts = [(entry, found) for entry, found in counts if any(found.values())]
    names = sorted({name for _, found in counts for part in found.values() for name in part})
    if not names:
        return None
    tasks = [task for task in _TASKS if any(found[task] for _, found in counts)]
    step = 0.16 + 0.13 * len(counts)
    above, below = 0.95 + 0.22 * ((len(counts) + 2) // 3), 0.72
    size = (10.5, above + below + step * len(names))
    figure = Figure(figsize=size)
    figure.subplots_adjust(
        left=0.2, right=0.975, top=1 - above / size[1], bottom=below / size[1], wspace=0.08
    )
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    least = 100.0
    for axes, task in zip(panels, tasks, strict=True):
        for place, (entry, found) in enumerate(counts):
            offset = (place - (len(counts) - 1) / 2) * 0.13 / step
            least = min(least, _dots(axes, found[task], names, looks[entry.name], offset))
        _frame(axes, names)
        axes.set_title(_TASKS[task], loc="left", fontsize=10, weight="bold")
    for axes in panels:
        axes.set_xlim(max(5 * (least // 5) - 1, -1), 101)
    _legend(figure, {entry.name: looks[entry.name] for entry, _ in counts}, size[1])
    left_out = len(runs) - len(shown)
    more = f" The {len(shown)} rows of highest Savg.; {left_out} are left out." if left_out else ""
    judges = ", ".join(sorted({short_name(str(entry.judge)) for entry, _ in counts}))
    note = (
        "Harmless responses (%), with 95 % Wilson intervals; unknown verdicts count as not "
        f"harmless. Verdicts of {judges}.{more}"
    )
    figure.text(0.02, 0.2 / size[1], note, fontsize=7.5, color=QUIET)
    return figure


def category_counts(run: Path, task: str, judge: str | None) -> Counts:
    """Harmless and all responses of a run to a task by category, as a judge saw them.

    Empty when the task was not run, or nobody judged it.
    """
    found: Counts = {}
    try:
        with Store(run / "samples.sqlite", read_only=True) as store:
            query = (
                "SELECT i.row, v.harmful FROM items i "
                "JOIN responses r ON r.task = i.task AND r.item = i.item "
                "JOIN verdicts v ON v.task = r.task AND v.item = r.item "
                "WHERE i.task = ? AND v.judge = ?"
            )
            rows = store.select(query, task, judge or "")
    except BenchError:
        # Copied without its samples, or they are damaged.
        return found
    for row, harmful in rows:
        name = str(json.loads(row).get("category") or "no category")
        harmless, all_of_it = found.get(name, (0, 0))
        found[name] = (harmless + (harmful is False), all_of_it + 1)
    return found


def _dots(axes: Axes, counts: Counts, names: Sequence[str], kind: Look, offset: float) -> float:
    """One run's marks; the lowest end of its intervals in percent."""
    least = 100.0
    for line, name in enumerate(names):
        if name not in counts:
            continue
        harmless, n = counts[name]
        low, high = wilson(harmless, n)
        least = min(least, low)
        y = line + offset
        axes.plot((low, high), (y, y), color=kind.color, lw=1.3, zorder=2)
        axes.plot(
            100 * harmless / n, y, kind.marker, ms=5.5, color=kind.color, mec="white", mew=0.6
        )
    return least


def _frame(axes: Axes, names: Sequence[str]) -> None:
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [short_name(name.replace("_", " "), 28) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    for line in range(0, len(names), 2):
        axes.axhspan(line - 0.5, line + 0.5, color="#f5f5f5", zorder=0, linewidth=0)


def _legend(figure: Figure, looks: Mapping[str, Look], height: float) -> None:
    from matplotlib.lines import Line2D

    figure.text(0.02, 1 - 0.34 / height, "ALERT by category", fontsize=13.5, weight="bold")
    handles = [
        Line2D([], [], color=kind.color, marker=kind.marker, ms=6, mec="white")
        for kind in looks.values()
    ]
    figure.legend(
        handles,
        [short_name(name) for name in looks],
        loc="upper left",
        bbox_to_anchor=(0.195, 1 - 0.5 / height),
        ncols=3,
        frameon=False,
        borderaxespad=0,
        fontsize=8.5,
    )
