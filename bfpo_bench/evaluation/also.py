"""lm-eval's own tasks beside the suite's (``--also``): chosen, asked with them, and summed up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bfpo_bench.also.find import find_tasks, with_parts
from bfpo_bench.also.task import AlsoTask, group_identity, take, written
from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.target import Target
from bfpo_bench.run.also import AlsoResult
from bfpo_bench.run.results import Results
from bfpo_bench.run.store import Store
from bfpo_bench.suites import Suite


@dataclass(frozen=True)
class Also:
    """What is asked beside the suite.

    Attributes:
        asked: tasks and groups, in the order asked for.
        tasks: every task, those of groups among them.
        groups: lm-eval's own group objects by name.
        missing: what cannot be had → why.
    """

    asked: list[str] = field(default_factory=list)
    tasks: list[AlsoTask] = field(default_factory=list)
    groups: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, BadInput] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """All that the answers depend on, of each task and group."""
        own = {task.name: task.identity for task in self.tasks}
        return {**own, **{name: group_identity(one) for name, one in self.groups.items()}}

    def written(self, target: Target, options: EvaluateOptions) -> list[AlsoTask]:
        """The tasks with their requests.

        Raises:
            BadInput: a task asks for what cannot be done here.
        """
        arguments = (target.chat(), options.system_prompt, options.seed, options.thoughts.tokens)
        return [written(task, *arguments) for task in self.tasks]

    def done(self, results: Results) -> bool:
        """Whether results hold all of it; the identity answers for how it was asked."""
        return set(with_parts(self.asked, self.groups)) <= results.also.keys()

    def results(
        self, planned: Sequence[AlsoTask], store: Store, earlier: Results | None
    ) -> dict[str, AlsoResult]:
        """What was found: what this command asks for, then what earlier ones did."""
        from bfpo_bench.also.grade import grade
        from bfpo_bench.also.results import results_of

        graded = {task.name: grade(task, store) for task in planned}
        found = results_of(graded, self.groups, self.asked, store)
        for name, before in (earlier.also if earlier else {}).items():
            now = found.setdefault(name, before)
            if before.asked:
                found[name] = replace(now, asked=True)
        return found


def choose_also(options: EvaluateOptions, suite: Suite) -> Also:
    """Finds what ``--also`` names, with its data.

    Raises:
        BadInput: an unknown name, or what cannot be asked; data that cannot be had are `missing`.
    """
    wish = options.beside
    if not wish.also:
        return Also()
    found = find_tasks(wish, options.loading.trust_remote_code)
    own = {task.task for task in suite.everything}
    for name in (*found.tasks, *found.groups):
        if name in own:
            raise BadInput(
                f"--also {name}: a task of suite {suite.name} has that name, and an item has one "
                "answer in a run; leave it out, or use a suite without it."
            )
    arguments = (options.limit, options.seed, wish.apply_chat_template)
    tasks = [take(own, *arguments) for own in found.tasks.values()]
    return Also(found.asked, tasks, found.groups, found.problems)
