"""The tasks whose data is at hand; all that is wrong with the others at once."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from types import MappingProxyType

from bfpo_bench.common.errors import BadInput, NotHere
from bfpo_bench.data import HubUnavailable, OtherOption, Source, load_source
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.suites import Suite
from bfpo_bench.tasks.catalog import source_of
from bfpo_bench.tasks.requests import DataProblems, Task, load_tasks


def tasks_at_hand(
    options: EvaluateOptions,
    suite: Suite,
    wanted: Suite,
    also: Mapping[str, BadInput] = MappingProxyType({}),
) -> tuple[list[Task], dict[str, str]]:
    """The wanted tasks with their rows; and those that ``skip_missing`` leaves out.

    Args:
        suite: the whole suite.
        wanted: the part of it that is asked for.
        also: what ``--also`` names and cannot be had → why.

    Returns:
        The tasks; and name of each that is left out → the mark that says so in the results.

    Raises:
        BadInput: data cannot be had as asked for: a line for each source and, last, the options by
            which what is there would run.
        NotHere: the same, and nothing is wrong with it but that it is not here.
    """
    arguments = (options.data_dir, options.variants, options.allow_unpinned)
    left_out = {
        name: f"{name}: left out by --skip-missing, as it could not be had" for name in also
    }
    try:
        tasks = load_tasks(wanted, *arguments, options.limit, options.seed)
        if also and not options.skip_missing:
            raise BadInput(*map(str, also.values()))
        return tasks, left_out
    except DataProblems as error:
        there = [t.task for t in wanted.everything if t not in error.problems]
        if not options.skip_missing or not there:
            *lines, last = _all_problems(options, suite, wanted, error)
            absent = all(isinstance(one, NotHere) for one in error.problems.values())
            kind = NotHere if absent and not also else BadInput
            raise kind(*lines, *(f"  {problem}" for problem in also.values()), last) from error
        left_out |= {
            spec.task: (
                f"{spec.column}: left out by --skip-missing, as its data ({source_of(spec).name}) "
                f"{_why(problem)}"
            )
            for spec, problem in error.problems.items()
        }
        tasks = load_tasks(wanted.only(there), *arguments, options.limit, options.seed)
        return tasks, left_out


def _why(problem: BadInput) -> str:
    """What is wrong with data, in words that fit every machine."""
    if isinstance(problem, HubUnavailable):
        return "could not be had"
    if isinstance(problem, OtherOption) and problem.variant is not None:
        return f"was there only as variant {problem.variant!r}"
    if isinstance(problem, OtherOption):
        return "was not the pinned data"
    return "was incomplete, broken or not to be had"


def _all_problems(
    options: EvaluateOptions, suite: Suite, wanted: Suite, error: DataProblems
) -> list[str]:
    lines = {}
    there = {t.task for t in wanted.everything if t not in error.problems}
    more: list[str] = []
    for spec, problem in error.problems.items():
        source = source_of(spec)
        text = problem.problem if isinstance(problem, HubUnavailable) else str(problem)
        text = text.removeprefix(f"source {source.name!r}").removeprefix(":").strip()
        lines[source.name] = f"  {source.name}: {text}"
        mended = _mended(options, source, problem)
        if mended is not None:
            there.add(spec.task)
            more += [one for one in mended if one not in more]
    more.sort(key=lambda one: one == _UNPINNED)
    count = f"{len(error.problems)} of {len(wanted.everything)} tasks"
    head = f"the data of {count} cannot be had as asked for (see docs/data.md):"
    return [head, *lines.values(), _would_run(options, suite, wanted, there, more)]


_UNPINNED = "--allow-unpinned"


def _mended(options: EvaluateOptions, source: Source, problem: BadInput) -> list[str] | None:
    """The options with which a source can be had; None if there are none."""
    variant, unpinned = options.variants.get(source.name), options.allow_unpinned
    found = []
    while isinstance(problem, OtherOption):
        if problem.variant is not None:
            variant = problem.variant
            found.append(f"--variant {source.name}={variant}")
        else:
            unpinned = True
            found.append(_UNPINNED)
        try:
            load_source(source, data_dir=options.data_dir, variant=variant, allow_unpinned=unpinned)
        except BadInput as error:
            problem = error
        else:
            return found
    return None


def _would_run(
    options: EvaluateOptions, suite: Suite, wanted: Suite, there: set[str], more: list[str]
) -> str:
    """What to add to the command line for what is there to be evaluated."""
    helpful, asked, without = wanted.helpfulness, wanted.everything, ""
    if options.annotator is not None and helpful is not None:
        # That task comes with the annotator, whatever --tasks says.
        asked = wanted.tasks
        if helpful.task not in there:
            without = " without --annotator"
        elif len(there) > 1:
            there = there - {helpful.task}
    if not there:
        return (
            "none of it is at hand: put its files into a folder and name that with --data-dir, or "
            "see how the path works with --suite mini."
        )
    if any(task.task not in there for task in asked):
        more = [*more, f"--tasks {shlex.quote(suite.typed(there))}"]
    end = f" with {' '.join(more)}" if more else ""
    return f"what is at hand would run now by the same command{without}{end}"
