"""What is asked in the scoring benchmark: items of the suite's tasks, as texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.loggers import errors_only
from bfpo_bench.data.hub import HubUnavailable
from bfpo_bench.engines.protocol import ScoreRequest
from bfpo_bench.suites import load_suite
from bfpo_bench.tasks.requests import DataProblems, Task, load_tasks, render
from bfpo_bench.tasks.rows import document


@dataclass(frozen=True)
class Asked:
    """Items of one task.

    Attributes:
        name: name of the task without ``bfpo_``.
        items: number of items asked.
        all_items: items that the task has.
        mini: whether they are the bundled demonstration items, because the data is not at hand.
        requests: texts to score, item after item.
        plan: the task as the suite would run it.
    """

    name: str
    items: int
    all_items: int
    mini: bool
    requests: Sequence[ScoreRequest]
    plan: Task

    def outcomes(self, answers: Sequence[tuple[float, bool]]) -> list[float]:
        """lm-eval's metric of each item.

        Args:
            answers: (log-likelihood, is greedy) of each request.
        """
        found, at = [], 0
        for (item, _, row), count in zip(self.plan.items(), self.plan.choices, strict=True):
            results: dict[str, Any] = self.plan.lm_eval_task.process_results(
                document(row, item), list(answers[at : at + count])
            )
            found.append(float(results[self.plan.spec.metric]))
            at += count
        return found


def read_items(
    tasks: Sequence[str], data_dir: Path | None, limit: int | None, seed: int, first: bool
) -> list[Asked]:
    """The scored tasks of the paper's suite.

    Args:
        tasks: names of tasks; empty for all that are scored.
        data_dir: folder of upstream files. A task that neither it nor the hub has is asked with
            the bundled demonstration items.
        limit: items per task; None for all.
        seed: decides which.
        first: take the first `limit` items, as lm-eval's ``--limit`` does, not random ones.

    Raises:
        BadInput: a task is unknown or is not scored; the data folder is not what it should be.
    """
    suite = load_suite("paper").only(list(tasks) or ["disc"])
    judged = [spec.task for spec in suite.tasks if spec.group != "disc"]
    if judged:
        raise BadInput(f"{judged[0]} is judged, not scored; leave it out of --tasks.")
    found = []
    for spec in suite.tasks:
        one = suite.only([spec.task])
        drawn = None if first else limit
        with errors_only("bfpo_bench"):
            try:
                [task] = load_tasks(one, data_dir, allow_unpinned=True, limit=drawn, seed=seed)
            except DataProblems as error:
                if not all(isinstance(one, HubUnavailable) for one in error.problems.values()):
                    raise
                [task] = load_tasks(replace(one, data="mini"), limit=drawn, seed=seed)
            if first:
                task = replace(task, positions=task.positions[:limit])
            [plan] = render([task], chat=None)
        found.append(
            Asked(
                name=spec.task.removeprefix("bfpo_"),
                items=len(plan.choices),
                all_items=len(task.ids),
                mini=task.loaded.origin == "mini",
                requests=plan.scores,
                plan=plan,
            )
        )
    return found
