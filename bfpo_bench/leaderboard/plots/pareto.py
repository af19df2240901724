"""Helpfulness against harmlessness: Alpaca and Savg. of every row (Figure 5 of arXiv 2408.15313).

Published rows are grey rings, measured ones coloured marks with their 95 % intervals. The step line
is the Pareto front: of the rows on it, none is beaten in both. It is drawn through rows of one
protocol only, as what was measured otherwise is not ranked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from bfpo_bench.common.figures import INK
from bfpo_bench.leaderboard.columns import ALPACA, SAVG
from bfpo_bench.leaderboard.plots.labels import Box, Label, place_labels
from bfpo_bench.leaderboard.plots.style import QUIET, Look, looks_of, short_name
from bfpo_bench.leaderboard.ranking import unlike
from bfpo_bench.leaderboard.rows import Cell, Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(entries: Sequence[Entry]) -> Figure | None:
    """The picture; None when no row has a Savg."""
    rows = [entry for entry in entries if SAVG.key in entry.cells]
    both = [entry for entry in rows if ALPACA.key in entry.cells]
    measured = [entry for entry in rows if entry.kind == "measured"]
    half = [entry for entry in measured if entry not in both]
    if not rows:
        return None
    figure = Figure(figsize=(9.5, 6.4))
    sides = figure.add_gridspec(
        1, 2, width_ratios=(1.6, 8), wspace=0.06, left=0.075, right=0.975, top=0.86, bottom=0.15
    )
    axes = figure.add_subplot(sides[0, 1] if half else sides[0, :])
    _limits(axes, both, rows)
    _front(axes, _of_front(both))
    labels, blocked = [], []
    for one in _same_place([entry for entry in both if entry.kind == "published"]):
        x, y = _at(one[0])
        axes.plot(x, y, "o", ms=5.5, mfc="white", mec="#7d7d7d", mew=1.3, zorder=3)
        names = " = ".join(short_name(entry.name) for entry in one)
        labels.append(Label(names, x, y, {"fontsize": 8, "color": QUIET}, last=True))
    looks = looks_of(entries)
    for entry in measured:
        if entry in both:
            blocked += _measured(axes, entry, looks[entry.name])
            x, y = _at(entry)
            style = {"fontsize": 9, "weight": "bold", "color": INK}
            labels.append(Label(short_name(entry.name), x, y, style))
    axes.set_xlabel("Alpaca: win rate against the reference (%), higher is more helpful")
    if half:
        side = figure.add_subplot(sides[0, 0], sharey=axes)
        _strip(side, half, looks)
        axes.tick_params(labelleft=False)
        side.set_ylabel("Savg. (%), higher is more harmless")
    else:
        axes.set_ylabel("Savg. (%), higher is more harmless")
    figure.text(0.075, 0.945, "Helpful and harmless", fontsize=13.5, weight="bold")
    figure.text(0.075, 0.905, _subtitle(both, measured), fontsize=8.5, color=QUIET)
    figure.text(0.075, 0.025, _notes(both, half), fontsize=7.5, color=QUIET, linespacing=1.5)
    place_labels(axes, labels, blocked)
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


def _limits(axes: Axes, both: Sequence[Entry], rows: Sequence[Entry]) -> None:
    ends = [value for entry in rows for value in _ends(entry.cells[SAVG.key])]
    room = max(0.07 * (max(ends) - min(ends)), 1)
    axes.set_ylim(max(min(ends) - room, 0), min(max(ends) + room, 100))
    across = [value for entry in both for value in _ends(entry.cells[ALPACA.key])]
    room = max(0.1 * (max(across) - min(across)), 1) if across else 0
    axes.set_xlim((max(min(across) - room, 0), max(across) + room) if across else (0, 100))
    axes.grid(color="#ececec", linewidth=0.6)
    axes.set_axisbelow(True)


def _front(axes: Axes, both: Sequence[Entry]) -> None:
    front = pareto_front([_at(entry) for entry in both])
    if not front:
        return
    left, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
    x = [left, *(x for x, _ in front), front[-1][0]]
    y = [front[0][1], *(y for _, y in front), bottom]
    axes.plot(x, y, drawstyle="steps-pre", color="#8a8a8a", lw=1.1, ls=(0, (4, 2)), zorder=1)


def _measured(axes: Axes, entry: Entry, kind: Look) -> list[Box]:
    """Mark and intervals; the pixels that the intervals cover."""
    x, y = _at(entry)
    across, up = (_ends(entry.cells[column.key]) for column in (ALPACA, SAVG))
    axes.plot(across, (y, y), color=kind.color, lw=1.6, zorder=4)
    axes.plot((x, x), up, color=kind.color, lw=1.6, zorder=4)
    axes.plot(x, y, kind.marker, ms=8.5, color=kind.color, mec="white", mew=1, zorder=5)
    to_pixels = axes.transData.transform
    (left, middle), (right, _) = to_pixels((across[0], y)), to_pixels((across[1], y))
    (centre, bottom), (_, top) = to_pixels((x, up[0])), to_pixels((x, up[1]))
    return [(left, middle - 2, right, middle + 2), (centre - 2, bottom, centre + 2, top)]


def _strip(side: Axes, half: Sequence[Entry], looks: Mapping[str, Look]) -> None:
    """Rows that have a Savg. but no Alpaca, beside the plane that they have no place in."""
    side.set_xlim(0, 1)
    side.set_xticks([])
    side.set_facecolor("#f7f7f7")
    side.spines["bottom"].set_visible(False)
    side.set_xlabel("no Alpaca\nyet", color=QUIET)
    side.grid(axis="y", color="#ececec", linewidth=0.6)
    labels, blocked = [], []
    for entry in half:
        kind, y = looks[entry.name], entry.cells[SAVG.key].value
        x = 0.12
        up = _ends(entry.cells[SAVG.key])
        side.plot((x, x), up, color=kind.color, lw=1.6)
        side.plot(x, y, kind.marker, ms=8.5, color=kind.color, mec="white", mew=1, zorder=5)
        style = {"fontsize": 8, "weight": "bold", "color": INK}
        labels.append(Label(short_name(entry.name, 18), x, y, style))
        to_pixels = side.transData.transform
        (centre, bottom), (_, top) = to_pixels((x, up[0])), to_pixels((x, up[1]))
        blocked.append((centre - 2, bottom, centre + 2, top))
    place_labels(side, labels, blocked)


def _same_place(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Rows with equal figures together (the paper prints Zephyr twice)."""
    found: dict[tuple[float, float], list[Entry]] = {}
    for entry in entries:
        found.setdefault(_at(entry), []).append(entry)
    return list(found.values())


def _at(entry: Entry) -> tuple[float, float]:
    return entry.cells[ALPACA.key].value, entry.cells[SAVG.key].value


def _ends(cell: Cell) -> tuple[float, float]:
    return (
        cell.value if cell.low is None else cell.low,
        cell.value if cell.high is None else cell.high,
    )


def _subtitle(both: Sequence[Entry], measured: Sequence[Entry]) -> str:
    parts = []
    if any(entry.kind == "published" for entry in both):
        parts.append("Grey rings: published")
    if measured:
        parts.append("coloured marks: measured, with 95 % intervals where known")
    if both:
        front = {entry.kind for entry in _of_front(both)}
        of = "measured rows of one protocol" if front == {"measured"} else "published rows"
        parts.append(f"broken line: Pareto front of the {of}")
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _notes(both: Sequence[Entry], half: Sequence[Entry]) -> str:
    notes = []
    if half and not any(entry.kind == "measured" for entry in both):
        notes.append(
            "No measured row has an Alpaca win rate yet; evaluate with an annotator to place it "
            "in the plane."
        )
    if any(entry.kind == "published" for entry in both):
        notes.append(
            "The published win rates are partly raw, partly length-controlled (see the table's "
            "notes)."
        )
    return "\n".join(notes)
