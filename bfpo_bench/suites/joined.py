"""Several suites as one: the tasks of all of them, in one run and one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.options import names_in
from bfpo_bench.suites.suite import Suite, SuiteTask
from bfpo_bench.suites.suite_file import read_suite


def suite_parts(name: str) -> list[str]:
    """The suites that a name or path stands for: ``paper+balance`` for two."""
    return list(dict.fromkeys(names_in(name.split("+"), "+")))


def load_suite(name: str) -> Suite:
    """Reads a suite by name, or by the path of a YAML file, or several that are joined by ``+``.

    Raises:
        BadInput: no such suite; a field of it is missing, unknown or of the wrong kind; or two do
            not go together.
    """
    parts = [read_suite(part, load_suite) for part in suite_parts(name)]
    return parts[0] if len(parts) == 1 else _joined(parts)


def _joined(parts: Sequence[Suite]) -> Suite:
    """One suite with the tasks of all; judges and what is annotated are the first's that has any.

    Raises:
        BadInput: they read different data, or have a task in common that they ask otherwise.
    """
    first, name = parts[0], "+".join(part.name for part in parts)
    for other in parts[1:]:
        if other.data != first.data:
            raise BadInput(
                f"suite {first.name} has {first.data} data and suite {other.name} {other.data} "
                "data; join suites of one kind, such as paper+balance or mini+mini-balance."
            )
    tasks: dict[str, SuiteTask] = {}
    for part in parts:
        for task in part.everything:
            before = tasks.setdefault(task.task, task)
            unlike = [f.name for f in fields(task) if vars(before)[f.name] != vars(task)[f.name]]
            if unlike:
                raise BadInput(
                    f"the suites of {name} have the task {task.task!r} in common, with different "
                    f"settings ({', '.join(unlike)}); evaluate them one at a time."
                )
    helpful = [part.helpfulness for part in parts if part.helpfulness is not None]
    if len({task.task for task in helpful}) > 1:
        raise BadInput(
            f"the suites of {name} name different tasks under 'helpfulness' "
            f"({', '.join(task.task for task in helpful)}), and a run has one; leave one out."
        )
    return Suite(
        name=name,
        version="+".join(str(part.version) for part in parts),
        data=first.data,
        judge=first.judge,
        tasks=tuple(task for task in tasks.values() if task not in helpful),
        helpfulness=helpful[0] if helpful else None,
        parts=tuple(parts),
        refusal_judge=next((part.refusal_judge for part in parts if part.refusal_judge), None),
    )
