"""Rows with intervals, and with Gen. corrected for the judge's errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from bfpo_bench.common.statistics import (
    Floats,
    Tally,
    draw_tasks,
    percentiles,
    spread,
)
from bfpo_bench.leaderboard.alpaca import with_alpaca_interval
from bfpo_bench.leaderboard.columns import COLUMN_OF_TASK, GEN_CORRECTED
from bfpo_bench.leaderboard.load import Loaded
from bfpo_bench.leaderboard.rows import Cell, Entry
from bfpo_bench.leaderboard.runs import Run
from bfpo_bench.leaderboard.stats.distance import with_distance_intervals
from bfpo_bench.leaderboard.stats.judge_error import JudgeCheck, corrected_gen
from bfpo_bench.run.outcomes import (
    GROUPED,
    NO_GROUPS,
    item_groups,
    item_values,
    pooled,
    tallies_of,
)
from bfpo_bench.run.store import Store
from bfpo_bench.run.uncertainty import draws_of_averages


def estimated(loaded: Loaded, *, ci: bool, check: JudgeCheck | None = None, seed: int = 0) -> Entry:
    """The row with what its samples say about its uncertainty.

    Args:
        ci: give the cells their 95 % intervals.
        check: give it the column ``gen_corrected``, if the check is of its judge.
        seed: of the bootstrap; the same samples and seed give the same intervals.
    """
    entry, runs = loaded.entry, loaded.runs
    tallies, ungrouped = _tallies(runs)
    drawn = {name: values[:, 0] for name, values in draw_tasks(tallies, seed).items()}
    cells = dict(entry.cells)
    if ci:
        cells |= _with_intervals(entry, tallies, drawn, ungrouped, runs[0])
        cells |= with_distance_intervals(cells, drawn)
        cells |= with_alpaca_interval(cells, runs)
    marks = entry.marks
    if check is not None and "gen" in cells:
        problem = _other_judge(runs[0], check)
        if problem is None:
            cells[GEN_CORRECTED.key] = _corrected(check, runs[0], cells, drawn, seed)
        else:
            marks = (*marks, problem)
    return replace(entry, cells=cells, marks=marks)


def _tallies(runs: Sequence[Run]) -> tuple[dict[str, Tally], set[str]]:
    first = runs[0]
    if len(runs) == 1 or any(run.samples is None for run in runs):
        if first.samples is None:
            return tallies_of(None, first.results.tasks.values())
        with Store(first.samples, read_only=True) as store:
            return tallies_of(store, first.results.tasks.values())
    found, ungrouped = {}, set()
    with ExitStack() as stack:
        stores = [
            stack.enter_context(Store(run.samples, read_only=True))
            for run in runs
            if run.samples is not None
        ]
        for cell in first.results.tasks.values():
            if any(run.results.tasks[cell.task].score is None for run in runs):
                continue
            values: dict[str, list[float]] = {}
            groups: dict[str, str] | None = {}
            for run, store in zip(runs, stores, strict=True):
                for item, value in item_values(store, cell, run.judge).items():
                    values.setdefault(item, []).append(value)
                more = item_groups(store, cell.task)
                groups = None if groups is None or more is None else groups | more
            found[cell.task] = pooled([values], groups)
            if groups is None and cell.task in GROUPED:
                ungrouped.add(cell.task)
    return found, ungrouped


def _with_intervals(
    entry: Entry,
    tallies: Mapping[str, Tally],
    drawn: Mapping[str, Floats],
    ungrouped: set[str],
    run: Run,
) -> dict[str, Cell]:
    found = {}
    for name, tally in tallies.items():
        column = COLUMN_OF_TASK.get(name)
        key = column.key if column else name
        cell = entry.cells[key]
        sure = spread(tally, drawn[name])
        more = (NO_GROUPS,) if name in ungrouped else ()
        found[key] = replace(cell, low=sure.low, high=sure.high, marks=cell.marks + more)
    for key, values in draws_of_averages(run.results.tasks, drawn).items():
        if key in entry.cells:
            cell = entry.cells[key]
            low, high = percentiles(cell.value, values)
            found[key] = replace(cell, low=low, high=high)
    return found


def _other_judge(run: Run, check: JudgeCheck) -> str | None:
    """Why the check does not speak about the judge of a run; None where it does."""
    if check.judge is None or run.results.judge is None:
        return None
    if dict(check.judge) == {**run.results.judge, "judge": check.judge.get("judge")}:
        return None
    if check.judge.get("judge") == run.judge:
        return f"Gen. is not corrected: the judge check is of another version of {check.by}"
    return f"Gen. is not corrected: the judge check is of {check.by}, the verdicts of {run.judge}"


def _corrected(
    check: JudgeCheck,
    run: Run,
    cells: Mapping[str, Cell],
    drawn: Mapping[str, Floats],
    seed: int,
) -> Cell:
    names = {
        name: (column.key if (column := COLUMN_OF_TASK.get(name)) else name)
        for name, task in run.results.tasks.items()
        if task.group == "gen"
    }
    scores = {name: cells[key].value for name, key in names.items()}
    value, low, high = corrected_gen(check, scores, drawn, seed)
    marks = [
        f"corrected for the errors of {check.by}: sensitivity {check.found}/{check.harmful}, "
        f"specificity {check.passed}/{check.harmless} on labelled responses",
    ]
    if check.judge is None:
        marks.append(
            f"the judge check is of verdicts in {check.by} of a file; that they are those of this "
            "row's judge is taken on trust"
        )
    false_alarms = 100 * (1 - check.specificity)
    if any(100 - score < false_alarms for score in scores.values()):
        marks.append(
            "fewer responses were called harmful than the judge's false alarms alone would make "
            f"({false_alarms:.1f} % on the labelled ones), so the check may not fit these responses"
        )
    cell = Cell(value, marks=(*marks, *cells["gen"].marks), protocol=cells["gen"].protocol)
    # All draws cut to 0 or 100 are no interval.
    return replace(cell, low=low, high=high) if low < high else cell
