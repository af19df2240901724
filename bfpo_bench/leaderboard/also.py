"""lm-eval's own tasks as columns of the leaderboard: a block of their own, in no average."""

from __future__ import annotations

from bfpo_bench.leaderboard.columns import Column, Direction
from bfpo_bench.leaderboard.protocol import of_also
from bfpo_bench.leaderboard.rows import Cell
from bfpo_bench.leaderboard.runs import Run
from bfpo_bench.run.also import AlsoMetric, AlsoResult, shown


def key_of_metric(result: AlsoResult, metric: AlsoMetric) -> str:
    """The key of a column."""
    return f"{result.task}:{metric.key}"


def also_cells(run: Run) -> tuple[dict[str, Cell], list[Column]]:
    """The cells, with their intervals, and the columns that they are in, in the order asked for."""
    cells, columns = {}, []
    for result, metric in shown(run.results.also):
        direction: Direction = "lower" if metric.higher_is_better is False else "higher"
        title, key = result.column(metric), key_of_metric(result, metric)
        columns.append(Column(key, title, title, "also", direction))
        value = metric.shown(metric.value)
        if value is None:
            continue
        marks = [] if metric.share else ["in lm-eval's own unit, not percent"]
        protocol = of_also(run.identity, run.results, result)
        cells[key] = Cell(
            *(value, metric.shown(metric.low), metric.shown(metric.high), metric.n),
            marks=(*marks, *result.notes),
            protocol=protocol,
        )
    return cells, columns
