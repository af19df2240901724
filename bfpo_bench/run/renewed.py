"""Cells and averages of a run that is known by its results, when some change or are gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from bfpo_bench.run.average import Average
from bfpo_bench.run.results import Results, TaskResult
from bfpo_bench.run.store import Store
from bfpo_bench.run.uncertainty import PAPER, with_uncertainty
from bfpo_bench.suites import SuiteTask


def renewed(
    before: Results, cells: Mapping[str, TaskResult], store: Store
) -> tuple[dict[str, TaskResult], dict[str, Average]]:
    """Cells with standard errors and intervals, and the averages of a run whose suite is known by
    its earlier results alone.

    Args:
        cells: those of its tasks that are there.
    """
    # Group, task and column are all that averages look at, and a cell has them as well.
    tasks, means = with_uncertainty(cells, cast(list[SuiteTask], list(cells.values())), store)
    # What the run never did is missing still, and so is what it does not hold any more.
    gone = [cell for task, cell in before.tasks.items() if task not in cells]
    columns = {cell.column for cell in cells.values()}
    for name, mean in before.averages.items():
        groups = PAPER if name == "savg" else (name,)
        absent = [title for title in mean.missing if title not in columns]
        absent += [cell.column for cell in gone if cell.group in groups]
        if absent:
            found = means.get(name, Average(None, None))
            means[name] = Average(None, None, [*dict.fromkeys(absent + found.missing)])
    return tasks, means
