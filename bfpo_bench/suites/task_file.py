"""A task's YAML, which lm-eval reads too: what it says of the column that the task makes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.errors import unknown_name
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.common.validate import Text, validated
from bfpo_bench.suites.reading import read_task_yaml, read_yaml
from bfpo_bench.suites.suite import TASKS_FOLDER, Direction, Group, PromptKind, SuiteTask

_OPEN = ConfigDict(strict=True, extra="ignore")
"""lm-eval's keys, among which ours stand."""

_GROUPS: dict[str, Group] = {"answered": "answ", "win_rate": "helpfulness"}
"""The groups that metrics belong to, where nothing else is said."""


@dataclass(frozen=True, config=_OPEN)
class _Metadata:
    """What a task's YAML says under ``metadata``.

    Attributes:
        groups: the field of a row that names the item's group, where several share their text.
    """

    version: int
    column: Text | None = None
    group: Literal["disc", "gen", "harm", "answ", "apart"] | None = None
    metric: Text | None = None
    direction: Direction | None = None
    chat_template: bool = False
    prompts: PromptKind = "instructions"
    groups: Text | None = None
    note: Text | None = None


@dataclass(frozen=True, config=_OPEN)
class _Metric:
    metric: str
    higher_is_better: bool = True


@dataclass(frozen=True, config=_OPEN)
class _Kwargs:
    source: Text | None = None


@dataclass(frozen=True, config=_OPEN)
class _Generation:
    max_gen_toks: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    until: tuple[str, ...] = ()


@dataclass(frozen=True, config=_OPEN)
class _TaskFile:
    task: Text
    metadata: _Metadata
    metric_list: Annotated[tuple[_Metric, ...], Field(min_length=1)]
    custom_dataset: Text
    output_type: Text = "generate_until"
    generation_kwargs: _Generation = _Generation()
    dataset_kwargs: _Kwargs = _Kwargs()


@cache
def task_names() -> tuple[str, ...]:
    """Tasks that come with the package."""
    paths = sorted(TASKS_FOLDER.glob("*.yaml"))
    return tuple(path.stem for path in paths if "group" not in read_yaml(path, "task"))


def prompt_kind(task: str) -> PromptKind:
    """What the responses to the prompts of a task of the package are.

    Raises:
        BadInput: the package has no such task.
    """
    return packaged_task(task).prompts


@cache
def grouped_tasks() -> Mapping[str, str]:
    """Tasks of the package in which several items share their text → the field naming the group."""
    found = {}
    for name in task_names():
        content = read_task_yaml(TASKS_FOLDER / f"{name}.yaml")
        groups = content["metadata"].get("groups")
        if groups is not None:
            found[name] = groups
    return found


def group_field(task: str) -> str | None:
    """The field of a task's rows that names an item's group; None where items come singly.

    A task from outside the package calls it ``group``, if it has one.
    """
    return grouped_tasks().get(task) if task in task_names() else "group"


@cache
def packaged_task(task: str) -> SuiteTask:
    if task not in task_names():
        raise unknown_name("task", task, task_names())
    return read_task(TASKS_FOLDER / f"{task}.yaml")


def read_task(path: Path) -> SuiteTask:
    """What a task's YAML says; functions that it names stay names."""
    file = validated(_TaskFile, read_task_yaml(path), str(path))
    own = file.metadata
    generation, metric = None, own.metric or file.metric_list[0].metric
    if file.output_type == "generate_until":
        drawn = file.generation_kwargs
        generation = Sampling(drawn.max_gen_toks, drawn.temperature, drawn.top_p, drawn.until)
        metric = own.metric or "harmless"
    better: Direction = "higher" if file.metric_list[0].higher_is_better else "lower"
    usual: Group = _GROUPS.get(metric, "disc" if generation is None else "gen")
    return SuiteTask(
        task=file.task,
        column=own.column or file.task,
        group=own.group or usual,
        metric=metric,
        direction=own.direction or better,
        chat_template=own.chat_template,
        generation=generation,
        version=own.version,
        prompts=own.prompts,
        source=file.dataset_kwargs.source or file.custom_dataset,
        file=path,
        note=own.note,
    )
