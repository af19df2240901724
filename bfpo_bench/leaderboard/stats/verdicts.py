"""Differences of two models in the verdict that is not a task's score, item by item.

A harmful prompt's response is scored by whether it is harmless, a look-alike's by whether it
answers; where the judges have said both of both, the other one is paired too.
"""

from __future__ import annotations

from bfpo_bench.common.statistics import Tally, draw_tasks
from bfpo_bench.leaderboard.load import Loaded
from bfpo_bench.leaderboard.protocol import of_cell
from bfpo_bench.leaderboard.shares import task_columns
from bfpo_bench.leaderboard.stats.items import item_tally, opened
from bfpo_bench.leaderboard.stats.paired import Difference, difference

_OTHER = {"harmless": ("complied", "answered"), "answered": ("harmless", "harmless")}
"""By a task's metric the share that is the other verdict, and what it is called."""

GROUP = "verdict"


def verdict_differences(
    first: Loaded, other: Loaded, seed: int
) -> tuple[list[Difference], list[str]]:
    """The differences, not yet corrected for others, and what must be said of them.

    Args:
        seed: of the bootstrap.
    """
    runs = (*first.runs, *other.runs)
    one, two = first.runs[0], other.runs[0]
    columns = task_columns(one.results)
    tallies: dict[str, Tally] = {}
    remarks: dict[str, None] = {}
    with opened(runs) as stores:
        for name, cell in one.results.tasks.items():
            share, said = _OTHER.get(cell.metric, ("", ""))
            tasks = [run.results.tasks.get(name) for run in runs]
            if not all(task is not None and share in task.metrics for task in tasks):
                continue
            protocols = [
                of_cell(run.identity, run.results, run.results.tasks[name], share)
                for run in (one, two)
            ]
            judges = [d for d in protocols[0].differences(protocols[1]) if "judge" in d.name]
            title = f"{columns[name].title} {said}"
            if judges:
                remarks[judges[0].text("and")] = None
                continue
            tally, _ = item_tally([first.runs, other.runs], stores, name, share)
            if tally is not None:
                tallies[title] = tally
    drawn = draw_tasks(tallies, seed)
    found = [
        difference(title, GROUP, 100 * tally.means, drawn[title], tally, seed)
        for title, tally in tallies.items()
    ]
    why = f"the other verdict is not compared everywhere: {'; '.join(remarks)}"
    return found, [why] if remarks else []
