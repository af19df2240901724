"""One run as a row of a table: its cells, what a reader must know of them, and its badges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bfpo_bench.helpfulness.metrics import CONSTRAINT_MET, stored_means
from bfpo_bench.leaderboard.also import also_cells
from bfpo_bench.leaderboard.columns import (
    ALPACA,
    COLUMNS,
    GEN,
    GEN_CORRECTED,
    Column,
)
from bfpo_bench.leaderboard.protocol import Protocol, of_alpaca, of_cell, of_look, of_mean
from bfpo_bench.leaderboard.rows import Badge, Cell, Entry, distance_cells
from bfpo_bench.leaderboard.runs import Run
from bfpo_bench.leaderboard.shares import share_cells, task_columns, verdict_marks
from bfpo_bench.run.enough_table import precision_mark
from bfpo_bench.run.marks import NO_NUMBER
from bfpo_bench.run.results import TITLES, Results, TaskResult

_ONLY_ONE = {"0", "LABEL_0"}
"""What the output of a reward model with a single, unnamed objective is called."""

NO_SAMPLES = "its samples are not at hand, so nothing was recomputed from them"


def entry_of(run: Run, fault: str | None) -> Entry:
    """The row of a run.

    Args:
        fault: what is wrong with it, so that its numbers are not to be shown.
    """
    results = run.results
    cells: dict[str, Cell] = {}
    protocols: dict[str, Protocol] = {}
    columns = task_columns(results)
    extra = [column for column in columns.values() if column.key not in COLUMNS]
    missing = []
    for task in results.tasks.values():
        column = columns[task.task]
        if task.score is None:
            missing += [f"{column.title}: {mark}" for mark in task.marks or (NO_NUMBER,)]
            continue
        protocols[task.task] = of_cell(run.identity, results, task)
        marks = (*_cell_marks(task), *_verdict_marks(results, [task]))
        cells[column.key] = Cell(task.score, n=task.n, marks=marks, protocol=protocols[task.task])
    for key in TITLES:
        mean = results.averages.get(key)
        if mean is None or mean.value is None:
            if mean is not None and mean.missing and key != "savg":
                missing.append(f"{COLUMNS[key].title} is missing {', '.join(mean.missing)}")
            continue
        groups = ("disc", "gen") if key == "savg" else (key,)
        tasks = [task for task in results.tasks.values() if task.group in groups]
        protocol = of_mean(results, [protocols[task.task] for task in tasks], groups)
        marks = (*_verdict_marks(results, tasks), *_band(results, key))
        cells[key] = Cell(mean.value, marks=marks, protocol=protocol)
    if (corrected := results.corrected) and (gen := corrected.averages.get("gen")):
        about = f"Gen. corrected by {gen.labelled} labels of people, by {corrected.method}"
        protocol = cells[GEN.key].protocol + Protocol.of({"corrected by": corrected.method})
        marks = (about, *corrected.notes)
        cells[GEN_CORRECTED.key] = Cell(gen.value, gen.low, gen.high, None, marks, None, protocol)
    shares, beside_scores = share_cells(run, columns)
    cells |= shares
    cells |= alpaca_cells(run)
    cells |= distance_cells(cells)
    # A faulty run shows no numbers, and its samples may not be readable.
    looks, helpful = _looks(run) if fault is None else ({}, [])
    beside, also = also_cells(run) if fault is None else ({}, [])
    cells |= looks | beside
    return Entry(
        name=str(results.model.get("name")),
        kind="measured",
        source=str(run.path),
        cells=cells,
        marks=(*missing, *_row_marks(run)),
        run=run.path,
        runs=(run.path,),
        fault=fault,
        extra=(*extra, *beside_scores, *helpful, *also),
        judge=run.judge,
        badges=_badges(run, missing),
    )


def _badges(run: Run, missing: Sequence[str]) -> tuple[Badge, ...]:
    results = run.results
    found = []
    if results.suite.get("demonstration"):
        why = f"suite {results.suite['name']} is a few bundled items and measures nothing"
        found.append(Badge("demonstration", why))
    if results.limit is not None:
        why = f"at most {results.limit} items per task, drawn with seed {results.seed}"
        found.append(Badge("limited", why))
    if results.precision is not None:
        why = precision_mark(results.precision, results.tasks.values())
        found.append(Badge(f"±{results.precision:g}", why))
    if missing:
        found.append(Badge("incomplete", "; ".join(missing)))
    if run.samples is None:
        found.append(Badge("unchecked", NO_SAMPLES))
    return tuple(found)


def _verdict_marks(results: Results, tasks: Iterable[TaskResult]) -> tuple[str, ...]:
    """Who gave the verdicts that the scores of these tasks count."""
    judged = (task for task in tasks if task.judged)
    return tuple(dict.fromkeys(mark for task in judged for mark in verdict_marks(results, task)))


def _band(results: Results, average: str) -> tuple[str, ...]:
    """Between which numbers the judges of a majority have an average that depends on them."""
    band = results.panel.band(average) if results.panel else None
    return (f"{TITLES[average]} by each of the judges alone: from {band}",) if band else ()


def _cell_marks(task: TaskResult) -> tuple[str, ...]:
    marks = list(task.marks)
    if 0 < task.unknown < task.n:
        marks.append(f"{task.unknown} of {task.n} verdicts unknown")
    if task.cut:
        marks.append(f"{task.cut} of {task.n} prompts cut on the left")
    return tuple(marks)


def _row_marks(run: Run) -> list[str]:
    """Marks of the whole run: those that do not begin with the name of one of its columns."""
    titles = tuple(f"{task.column}: " for task in run.results.tasks.values())
    # The Alpaca cell says what is to be known of it.
    titles += ("Alpaca: ",) if alpaca_cells(run) else ()
    marks = [str(mark) for mark in run.results.marks if not str(mark).startswith(titles)]
    return marks if run.samples is not None else [*marks, NO_SAMPLES]


def alpaca_cells(run: Run) -> dict[str, Cell]:
    """The cell, without its interval: the raw win rate, marked, where length was not controlled."""
    found = run.results.helpfulness
    if found is None:
        return {}
    value, rate, kind = found.lc_win_rate, str(found.lc_model), "length-controlled win rate"
    more = ""
    if value is None:
        value, rate, kind = found.win_rate, "raw", "raw win rate"
        more = ": length is not controlled"
    if value is None:
        return {}
    marks = (f"{kind} by annotator {found.annotator}{more}", *found.notes)
    protocol = of_alpaca(run.identity, run.results, found, rate)
    return {ALPACA.key: Cell(value, n=found.n, marks=marks, protocol=protocol)}


def _looks(run: Run) -> tuple[dict[str, Cell], list[Column]]:
    """Helpfulness without an annotator, which never stands in for the Alpaca column.

    Mean rewards and the share of constraints met (``bfpo-bench helpfulness reward`` and
    ``constraints``), with their 95 % intervals, and the columns that they are in.
    """
    cells, columns = {}, []
    for look in stored_means(run.path) if run.samples is not None else ():
        scale, title, short = 1, "Reward", "Reward"
        mark = f"mean {look.metric} over {look.n} responses, in the model's own unit, not percent"
        objective = look.metric.rpartition(":")[2]
        if look.metric == CONSTRAINT_MET:
            scale, title, short = 100, "Constraints met", "Constr."
            mark = f"share of {look.n} instructions whose checkable constraint is met"
        elif objective not in _ONLY_ONE:
            title = short = f"Reward {objective}"
        values = (scale * look.mean, scale * look.low, scale * look.high)
        protocol = of_look(run.identity, run.results, look.n, {"metric": look.metric})
        cells[look.metric] = Cell(*values, look.n, (mark,), protocol=protocol)
        columns.append(Column(look.metric, title, short, "helpfulness", "higher"))
    return cells, columns
