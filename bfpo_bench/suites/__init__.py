"""Suites: which tasks are run, in which column and group, and how. See docs/suites.md."""

from bfpo_bench.suites.joined import load_suite, suite_parts
from bfpo_bench.suites.suite import (
    AVERAGED,
    JUDGED,
    PROMPT_KINDS,
    TASKS_FOLDER,
    PromptKind,
    Suite,
    SuiteTask,
)
from bfpo_bench.suites.suite_file import suite_names
from bfpo_bench.suites.task_file import (
    group_field,
    grouped_tasks,
    packaged_task,
    prompt_kind,
    task_names,
)

__all__ = [
    "AVERAGED",
    "JUDGED",
    "PROMPT_KINDS",
    "TASKS_FOLDER",
    "PromptKind",
    "Suite",
    "SuiteTask",
    "group_field",
    "grouped_tasks",
    "load_suite",
    "packaged_task",
    "prompt_kind",
    "suite_names",
    "suite_parts",
    "task_names",
]
