"""The sources that the package's task modules declare, by name."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.data import Source
from bfpo_bench.suites import TASKS_FOLDER, SuiteTask, load_suite, suite_names

_NO_BENCHMARK = ("__init__", "catalog", "prompt_sets", "requests", "rows")


@cache
def all_sources() -> dict[str, Source]:
    """Every source by name: those of the paper's columns in their order, then the other suites'."""
    found: dict[str, Source] = {}
    for path in sorted(TASKS_FOLDER.glob("*.py")):
        if path.stem not in _NO_BENCHMARK:
            module = import_module(f"bfpo_bench.tasks.{path.stem}")
            declared = [value for value in vars(module).values() if isinstance(value, Source)]
            found |= {source.name: source for source in declared}
    suites = map(load_suite, ("paper", *suite_names()))
    order = [spec.source for suite in suites for spec in suite.everything]
    return {name: found[name] for name in dict.fromkeys([*order, *found])}


def find_source(name: str) -> Source:
    """The declaration of a source.

    Raises:
        BadInput: unknown name.
    """
    if name not in all_sources():
        raise unknown_name("source", name, all_sources())
    return all_sources()[name]


def source_of(spec: SuiteTask) -> Source:
    """The source of a task's rows.

    Raises:
        BadInput: the task names none that can be had.
    """
    if "." not in spec.source:
        return find_source(spec.source)
    # A module beside the task's YAML, found as lm-eval finds it.
    from lm_eval.tasks._yaml_loader import load_yaml

    try:
        rows = load_yaml(spec.file)["custom_dataset"]
    except Exception as error:
        raise BadInput(
            f"{spec.file}: {spec.source!r} and the functions beside it cannot be had "
            f"({type(error).__name__}: {error}); mend the task or its module."
        ) from error
    source = getattr(rows, "source", None)
    if not isinstance(source, Source):
        raise BadInput(
            f"{spec.file}: 'custom_dataset' names {spec.source}, which says nothing of its source; "
            "make it with bfpo_bench.tasks.rows.RowsOf(SOURCE)."
        )
    return source
