"""Rows with intervals, and with Gen. corrected for the judge's errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bfpo_bench.common.statistics import (
    Floats,
    Tally,
    draw_tasks,
    mean_of,
    percentiles,
    spread,
    tally_share,
)
from bfpo_bench.helpfulness.inputs import read_inputs
from bfpo_bench.helpfulness.metrics import measure
from bfpo_bench.helpfulness.of_run import read_annotated
from bfpo_bench.leaderboard.columns import (
    ALPACA,
    CROWS_PAIRS,
    CROWS_PAIRS_DISTANCE,
    DISC_DISTANCE,
    GEN_CORRECTED,
    SHARES_OF,
    key_of,
)
from bfpo_bench.leaderboard.load import Loaded
from bfpo_bench.leaderboard.rows import DISC_TASKS, UNBIASED, Cell, Entry, fairness
from bfpo_bench.leaderboard.runs import Run
from bfpo_bench.leaderboard.shares import share_parts, task_columns
from bfpo_bench.leaderboard.stats.items import item_tally, opened
from bfpo_bench.run.judge_error import JudgeCheck, corrected_gen
from bfpo_bench.run.outcomes import (
    NO_GROUPS,
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
        cells |= _with_share_intervals(entry, runs, seed)
        cells |= _with_intervals(entry, tallies, drawn, ungrouped, runs[0])
        cells |= with_distance_intervals(cells, drawn)
        cells |= _with_alpaca_interval(cells, runs)
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
    with opened(runs) as stores:
        for task in first.results.tasks:
            if all(run.results.tasks[task].score is not None for run in runs):
                tally, known = item_tally([runs], stores, task)
                assert tally is not None
                found[task] = tally
                ungrouped |= set() if known else {task}
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
        key = key_of(name)
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


def _with_share_intervals(entry: Entry, runs: Sequence[Run], seed: int) -> dict[str, Cell]:
    """The shares of judged tasks and of their averages, with their intervals."""
    first, tallies = runs[0].results, {}
    shown = [column for column in entry.extra if column.share and column.key in entry.cells]
    if len(runs) == 1 or any(run.samples is None for run in runs):
        for column in shown:
            task = first.tasks[str(column.task)]
            right = round(task.metrics[str(column.share)] * task.n)
            tallies[column.key] = tally_share(right, task.n)
    else:
        with opened(runs) as stores:
            for column in shown:
                tally, _ = item_tally([runs], stores, str(column.task), column.share)
                assert tally is not None
                tallies[column.key] = tally
    drawn = {name: values[:, 0] for name, values in draw_tasks(tallies, seed).items()}
    found = {}
    for key, tally in tallies.items():
        sure = spread(tally, drawn[key])
        found[key] = replace(entry.cells[key], low=sure.low, high=sure.high)
    columns = task_columns(first)
    for group, averages in SHARES_OF.items():
        for average in averages:
            if average.key in entry.cells:
                cell = entry.cells[average.key]
                parts = share_parts(first, group, average, columns)
                values = mean_of([drawn[part.key] for part in parts])
                low, high = percentiles(cell.value, values)
                found[average.key] = replace(cell, low=low, high=high)
    return found


def with_distance_intervals(
    cells: Mapping[str, Cell], drawn: Mapping[str, Floats]
) -> dict[str, Cell]:
    """Both cells with their intervals.

    Args:
        cells: of the row; that of CrowS-Pairs with its interval, of which the distance's is what
            |x − 50| makes: where it holds 50, the distance may be 0.
        drawn: resampled scores by task, ``[resamples]``, from which the alternative Disc. is made.
    """
    found = {}
    distance, crows = cells.get(CROWS_PAIRS_DISTANCE.key), cells.get(CROWS_PAIRS.key)
    if distance and crows and crows.low is not None and crows.high is not None:
        ends = [abs(end - UNBIASED) for end in (crows.low, crows.high)]
        low = 0.0 if crows.low <= UNBIASED <= crows.high else min(ends)
        found[CROWS_PAIRS_DISTANCE.key] = replace(distance, low=low, high=max(ends))
    disc = cells.get(DISC_DISTANCE.key)
    if disc and all(task in drawn for task in DISC_TASKS.values()):
        parts = [
            fairness(drawn[task]) if key == CROWS_PAIRS.key else drawn[task]
            for key, task in DISC_TASKS.items()
        ]
        low, high = percentiles(disc.value, mean_of(parts))
        found[DISC_DISTANCE.key] = replace(disc, low=low, high=high)
    return found


def _with_alpaca_interval(cells: Mapping[str, Cell], runs: Sequence[Run]) -> dict[str, Cell]:
    """The cell with its interval; a mean over seeds has a spread.

    Made again from the annotations where the run keeps what its length control was fitted with,
    else as its results hold it.
    """
    [run, *others] = runs
    found = run.results.helpfulness
    if ALPACA.key not in cells or found is None or others:
        return {}
    upstream = read_inputs(run.path) if run.samples is not None else None
    if upstream is not None:
        found = measure(read_annotated(run.path, found.annotator), upstream)
    ends = found.lc_low, found.lc_high
    if found.lc_win_rate is None:
        ends = found.win_low, found.win_high
    return {ALPACA.key: replace(cells[ALPACA.key], low=ends[0], high=ends[1])}


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
    judged = [name for name, task in run.results.tasks.items() if task.group == "gen"]
    scores = {name: cells[key_of(name)].value for name in judged}
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
