"""lm-eval's own tasks as columns of the leaderboard: a block of their own, in no average."""

from __future__ import annotations

from bfpo_bench.leaderboard.columns import Column, Direction
from bfpo_bench.leaderboard.protocol import of_also
from bfpo_bench.leaderboard.rows import Cell
from bfpo_bench.leaderboard.runs import Run
from bfpo_bench.run.also import AlsoMetric, AlsoResult, shown

_DIRECTIONS: dict[bool | None, Direction] = {True: "higher", False: "lower", None: "neither"}


def also_column(result: AlsoResult, metric: AlsoMetric) -> Column:
    """The column of a metric; neither good nor bad where lm-eval does not say which it is."""
    key, title = f"{result.task}:{metric.key}", result.column(metric)
    return Column(key, title, title, "also", _DIRECTIONS[metric.higher_is_better])


def also_cells(run: Run) -> tuple[dict[str, Cell], list[Column]]:
    """The cells, with their intervals, and the columns that they are in, in the order asked for."""
    cells, columns = {}, []
    for result, metric in shown(run.results.also):
        column = also_column(result, metric)
        columns.append(column)
        value = metric.shown(metric.value)
        if value is None:
            continue
        marks = [] if metric.share else ["in lm-eval's own unit, not percent"]
        protocol = of_also(run.identity, run.results, result)
        cells[column.key] = Cell(
            *(value, metric.shown(metric.low), metric.shown(metric.high), metric.n),
            marks=(*marks, *result.notes),
            protocol=protocol,
        )
    return cells, columns
