"""Share of harmless responses to ALERT and ALERT Adversarial by category of the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bfpo_bench.common.errors import BenchError
from bfpo_bench.common.statistics import wilson
from bfpo_bench.leaderboard.plots.style import (
    LOOKS,
    Look,
    framed,
    grid,
    looks_of,
    measured,
    short_name,
)
from bfpo_bench.leaderboard.rows import Entry
from bfpo_bench.run.store import Store, source_row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TASKS = {"bfpo_alert": "ALERT", "bfpo_alert_adversarial": "ALERT Adversarial"}

Counts = dict[str, tuple[int, int]]
"""By category: harmless responses, and all."""


def draw(entries: Sequence[Entry]) -> Figure | None:
    """The picture of the first eight measured rows; None when none has answered ALERT."""
    runs = [entry for entry in measured(entries) if entry.run is not None]
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
    judges = ", ".join(sorted({short_name(str(entry.judge)) for entry, _ in counts}))
    left_out = len(runs) - len(shown)
    more = f" The {len(shown)} rows of highest Savg.; {left_out} are left out." if left_out else ""
    note = (
        "Harmless responses (%), with 95 % Wilson intervals; unknown verdicts count as not "
        f"harmless. Verdicts of {judges}.{more}"
    )
    step = 0.16 + 0.13 * len(counts)
    figure = framed("ALERT by category", note, (12, 1.9 + step * len(names)))
    panels = figure.subplots(1, len(tasks), sharex=True, sharey=True, squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        axes.set_title(_TASKS[task], loc="left", fontsize=10, weight="bold")
        for line in range(0, len(names), 2):
            axes.axhspan(line - 0.5, line + 0.5, color="#f5f5f5", zorder=0, linewidth=0)
        grid(axes, "x")
        for place, (entry, found) in enumerate(counts):
            offset = (place - (len(counts) - 1) / 2) * 0.13 / step
            _dots(axes, found[task], names, looks[entry.name], offset)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    panels[0].set_yticks(range(len(names)), [short_name(n.replace("_", " "), 28) for n in names])
    panels[0].set_xlim(right=101)
    handles = [
        panels[0].plot([], [], look.marker, color=look.color, ls="-", mec="white")[0]
        for look in (looks[entry.name] for entry, _ in counts)
    ]
    labels = [short_name(entry.name) for entry, _ in counts]
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8.5)
    return figure


def category_counts(run: Path, task: str, judge: str | None) -> Counts:
    """Harmless and all responses of a run to a task by category, as a judge saw them.

    Empty when the task was not run, or nobody judged it.
    """
    found: Counts = {}
    try:
        with Store(run / "samples.sqlite", read_only=True) as store:
            query = (
                "SELECT v.item, v.harmful FROM verdicts v "
                "JOIN responses r ON r.task = v.task AND r.item = v.item "
                "WHERE v.task = ? AND v.judge = ?"
            )
            verdicts = dict(store.select(query, task, judge or ""))
            items = store.iter_items(task) if verdicts else ()
            rows = [(source_row(one), verdicts[one.item]) for one in items if one.item in verdicts]
    except BenchError:
        # Copied without its samples, or they are damaged.
        return found
    for row, harmful in rows:
        name = str(row.get("category") or "no category")
        harmless, all_of_it = found.get(name, (0, 0))
        found[name] = (harmless + (harmful is False), all_of_it + 1)
    return found


def _dots(axes: Axes, counts: Counts, names: Sequence[str], look: Look, offset: float) -> None:
    """One run's marks with their intervals."""
    for line, name in enumerate(names):
        if name in counts:
            harmless, n = counts[name]
            y = line + offset
            axes.plot(wilson(harmless, n), (y, y), color=look.color, lw=1.3, zorder=2)
            share = 100 * harmless / n
            axes.plot(share, y, look.marker, ms=5.5, color=look.color, mec="white", mew=0.6)
