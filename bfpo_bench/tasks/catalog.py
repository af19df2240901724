"""The sources that the package's task modules declare, by name."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from bfpo_bench.common.errors import unknown_name
from bfpo_bench.data import Source
from bfpo_bench.suites import TASKS_FOLDER, load_suite, task_declaration

_NO_BENCHMARK = ("__init__", "catalog", "requests", "rows")


@cache
def all_sources() -> dict[str, Source]:
    """Every source by name, in the order of the paper's columns."""
    found: dict[str, Source] = {}
    for path in sorted(TASKS_FOLDER.glob("*.py")):
        if path.stem not in _NO_BENCHMARK:
            module = import_module(f"bfpo_bench.tasks.{path.stem}")
            declared = [value for value in vars(module).values() if isinstance(value, Source)]
            found |= {source.name: source for source in declared}
    columns = [task_declaration(spec.task) for spec in load_suite("paper").everything]
    order = [column["dataset_kwargs"]["source"] for column in columns]
    return {name: found[name] for name in dict.fromkeys([*order, *found])}


def find_source(name: str) -> Source:
    """The declaration of a source.

    Raises:
        BadInput: unknown name.
    """
    if name not in all_sources():
        raise unknown_name("source", name, all_sources())
    return all_sources()[name]
