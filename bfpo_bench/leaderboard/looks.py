"""Columns for helpfulness without an annotator: mean rewards, and the share of constraints met.

They are shown for runs that have them (``bfpo-bench helpfulness reward`` and ``constraints``) and
never stand in for the Alpaca column.
"""

from __future__ import annotations

from bfpo_bench.helpfulness.looks import CONSTRAINT_MET, Look, stored_looks
from bfpo_bench.leaderboard.columns import Column
from bfpo_bench.leaderboard.protocol import of_look
from bfpo_bench.leaderboard.rows import Cell
from bfpo_bench.leaderboard.runs import Run

_ONLY_ONE = {"0", "LABEL_0"}
"""What the output of a reward model with a single, unnamed objective is called."""


def look_cells(run: Run) -> tuple[dict[str, Cell], list[Column]]:
    """Cells with their 95 % intervals, and the columns that they are in, by metric."""
    if run.samples is None:
        return {}, []
    looks = stored_looks(run.path)
    return {look.metric: _cell(run, look) for look in looks}, [_column(look) for look in looks]


def _cell(run: Run, look: Look) -> Cell:
    protocol = of_look(run.identity, run.results, look.n, {"metric": look.metric})
    if look.metric == CONSTRAINT_MET:
        mark = f"share of {look.n} instructions whose checkable constraint is met"
        return Cell(
            100 * look.mean,
            100 * look.low,
            100 * look.high,
            look.n,
            (mark,),
            protocol=protocol,
        )
    mark = f"mean {look.metric} over {look.n} responses, in the model's own unit, not percent"
    return Cell(
        look.mean,
        look.low,
        look.high,
        look.n,
        (mark,),
        protocol=protocol,
    )


def _column(look: Look) -> Column:
    if look.metric == CONSTRAINT_MET:
        return Column(look.metric, "Constraints met", "Constr.", "helpfulness", "higher")
    objective = look.metric.rpartition(":")[2]
    title = "Reward" if objective in _ONLY_ONE else f"Reward {objective}"
    return Column(look.metric, title, title, "helpfulness", "higher")
