"""From run directories to rows.

Several runs of one model with different seeds make one row; several models of one training with
different seeds as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import fmean, stdev

from bfpo_bench.common.errors import BenchError
from bfpo_bench.common.progress import logged
from bfpo_bench.leaderboard.also import also_cells
from bfpo_bench.leaderboard.checks import find_fault, unreadable
from bfpo_bench.leaderboard.entry import alpaca_cells, entry_of
from bfpo_bench.leaderboard.protocol import of_cell, of_mean
from bfpo_bench.leaderboard.render.escaping import name_text
from bfpo_bench.leaderboard.rows import Badge, Cell, Entry, distance_cells
from bfpo_bench.leaderboard.runs import Run, open_run, told_apart, training
from bfpo_bench.run.shares import BOTH


@dataclass(frozen=True)
class Loaded:
    """A row and the runs that it is made of."""

    entry: Entry
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Rows:
    """What run directories gave.

    Attributes:
        problems: one sentence for every folder that is no finished run.
        remarks: one for everything that was settled somehow.
    """

    rows: list[Loaded]
    problems: list[str]
    remarks: list[str]


def load_rows(paths: Sequence[Path], judge: str | None = None) -> Rows:
    """Reads and checks run directories, or all runs in a folder of them.

    Args:
        judge: show the verdicts of this judge instead of each run's own.
    """
    remarks: list[str] = []
    distinct: dict[str, Path] = {}
    for path in chain.from_iterable(map(_runs_in, paths)):
        # Of os: a Path would raise where links go in a circle.
        place = os.path.realpath(path)
        if place in distinct:
            remarks.append(f"{path} is given twice; it is shown once.")
        else:
            distinct[place] = path

    def read(path: Path) -> Loaded | str:
        try:
            run = open_run(path, judge)
        except BenchError as error:
            return str(error)
        fault = find_fault(run)
        try:
            return Loaded(entry_of(run, fault), (run,))
        except BenchError as error:
            return Loaded(entry_of(run, unreadable(error)), (run,))

    # SQLite lets other threads work while it counts.
    found = []
    with logged("reading runs", len(distinct), "runs") as stage, ThreadPoolExecutor(8) as pool:
        for one in pool.map(read, distinct.values()):
            found.append(one)
            stage.advance(1)
    problems = [one for one in found if isinstance(one, str)]
    together: dict[str, list[Loaded]] = {}
    for one in found:
        if isinstance(one, Loaded):
            together.setdefault(_but_for_the_seed(one.runs[0]), []).append(one)
    rows: list[Loaded] = []
    for members in together.values():
        rows += _rows(members)
    return Rows(_named_apart(rows, remarks), problems, remarks)


def _runs_in(path: Path) -> list[Path]:
    """The folder itself if it is a run, or the runs in it; itself where there are none."""
    # Of os: in a folder that is closed to us, a Path would raise.
    if os.path.lexists(path / "run.json") or not os.path.isdir(path):  # noqa: PTH112
        return [path]
    inside = sorted(file.parent for file in path.glob("*/run.json"))
    return inside or [path]


def _but_for_the_seed(run: Run) -> str:
    """What runs have in common that differ in their seed: the model and all its protocols.

    The model is its weights, or how they were trained.
    """
    model = {k: v for k, v in run.identity["model"].items() if k not in ("name", "revision")}
    trained = training(run.path)
    if trained is not None:
        model["weights"] = trained.common
    results = run.results
    protocols = [
        of_cell(run.identity, results, cell, share)
        for cell in results.tasks.values()
        for share in (None, *(share for share in BOTH if share in cell.metrics))
    ]
    alpaca = [cell.protocol for cell in alpaca_cells(run).values()]
    also = {key: cell.protocol.parts for key, cell in also_cells(run)[0].items()}
    groups = {cell.group for cell in results.tasks.values()}
    parts = [one.parts for one in (of_mean(results, protocols, groups), *alpaca)]
    return json.dumps([model, sorted(results.tasks), parts, also], sort_keys=True)


def _rows(members: Sequence[Loaded]) -> list[Loaded]:
    """One row for runs that differ in their seeds; a row each for copies of one seed."""
    first: dict[tuple[tuple[int, ...], int], Loaded] = {}
    rest = []
    for loaded in members:
        [run] = loaded.runs
        trained = training(run.path)
        seeds = (() if trained is None else trained.seeds, run.results.seed)
        if seeds in first or loaded.entry.fault is not None:
            rest.append(loaded)
        else:
            first[seeds] = loaded
    if len(first) < 2:
        return [*first.values(), *rest]
    singles = [first[seeds] for seeds in sorted(first)]
    runs = tuple(one.runs[0] for one in singles)
    entry = mean_entry([one.entry for one in singles], _seeds(sorted(first)))
    trained = training(runs[0].path)
    if trained is not None and len({stages for stages, _ in first}) > 1:
        # Several models with a name each.
        entry = replace(entry, name=trained.method)
    return [Loaded(entry, runs), *rest]


def _seeds(found: Sequence[tuple[tuple[int, ...], int]]) -> str:
    """How runs differ, to be read: in the seeds of the training, of the evaluation, or both."""
    stages = [seeds for seeds, _ in found]
    trained = ", ".join("+".join(map(str, sorted(set(one)))) for one in dict.fromkeys(stages))
    asked = ", ".join(str(seed) for seed in sorted({seed for _, seed in found}))
    if len(set(stages)) == 1:
        return f"seeds {asked}"
    more = f", evaluated with {asked}" if len({seed for _, seed in found}) > 1 else ""
    return f"seeds of the training {trained}{more}"


def mean_entry(entries: Sequence[Entry], seeds: str) -> Entry:
    """The mean of the rows of several runs, with their sample standard deviation (n − 1) as spread.

    A cell is there when all of them have it. The distance of CrowS-Pairs is that of the mean.
    """
    first = entries[0]
    shared = [key for key in first.cells if all(key in entry.cells for entry in entries)]
    cells = {key: _mean([entry.cells[key] for entry in entries]) for key in shared}
    marks = [mark for entry in entries for mark in entry.marks]
    about = f"mean of {len(entries)} runs ({seeds}), ± their standard deviation"
    return replace(
        first,
        cells=cells | distance_cells(cells),
        marks=(
            about,
            *dict.fromkeys(marks),
        ),
        runs=tuple(run for entry in entries for run in entry.runs),
        badges=(*first.badges, Badge(f"{len(entries)} seeds", about)),
    )


def _mean(cells: Sequence[Cell]) -> Cell:
    marks = dict.fromkeys(mark for cell in cells for mark in cell.marks)
    values = [cell.value for cell in cells]
    # The first one's interval is not the mean's.
    mean = replace(cells[0], value=fmean(values), low=None, high=None)
    return replace(mean, spread=stdev(values), marks=tuple(marks))


def _named_apart(rows: Sequence[Loaded], remarks: list[str]) -> list[Loaded]:
    """Rows whose names read alike are told apart by their folders."""
    same: dict[str, list[str]] = {}
    for row in rows:
        same.setdefault(name_text(row.entry.name), []).append(str(row.runs[0].path))
    remarks += [
        f"{len(paths)} runs are named {name} ({', '.join(paths)}); their rows name the folder too."
        for name, paths in same.items()
        if len(paths) > 1
    ]
    names = told_apart([row.entry.name for row in rows], [row.runs[0].path for row in rows])
    return [
        replace(row, entry=replace(row.entry, name=name))
        for row, name in zip(rows, names, strict=True)
    ]
