"""Several runs of one model with different seeds as one row: mean and spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev

from bfpo_bench.leaderboard.rows import Cell, Entry
from bfpo_bench.leaderboard.stats.distance import distance_cells


def mean_entry(entries: Sequence[Entry], seeds: Sequence[int]) -> Entry:
    """The mean of the rows of several runs, with their sample standard deviation (n − 1) as spread.

    A cell is there when all of them have it. The distance of CrowS-Pairs is that of the mean.
    """
    first = entries[0]
    shared = [key for key in first.cells if all(key in entry.cells for entry in entries)]
    cells = {key: _mean([entry.cells[key] for entry in entries]) for key in shared}
    names = ", ".join(map(str, seeds))
    marks = [mark for entry in entries for mark in entry.marks]
    return replace(
        first,
        cells=cells | distance_cells(cells),
        marks=(
            f"mean of {len(entries)} runs (seeds {names}), ± their standard deviation",
            *dict.fromkeys(marks),
        ),
        runs=tuple(run for entry in entries for run in entry.runs),
    )


def _mean(cells: Sequence[Cell]) -> Cell:
    marks = dict.fromkeys(mark for cell in cells for mark in cell.marks)
    values = [cell.value for cell in cells]
    return replace(cells[0], value=fmean(values), spread=stdev(values), marks=tuple(marks))
