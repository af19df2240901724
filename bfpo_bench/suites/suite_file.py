"""A suite's YAML: which tasks stand in it, and what it says of them before their own files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.foreign import place_of
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.common.validate import STRICT, Text, validated
from bfpo_bench.suites.reading import read_yaml
from bfpo_bench.suites.suite import RESPONDED, Direction, Group, Suite, SuiteTask
from bfpo_bench.suites.task_file import packaged_task, read_task

SUITES_FOLDER = Path(__file__).parent


@dataclass(frozen=True, config=STRICT)
class _Drawn:
    """Settings of a :class:`Sampling`; None where nothing is said."""

    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = None

    def over(self, sampling: Sampling) -> Sampling:
        """A sampling with these settings in place of its own."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return replace(sampling, **given)


@dataclass(frozen=True, config=STRICT)
class _Column:
    """A task of a suite; what it says goes before what the task's YAML says."""

    task: Text
    column: Text | None = None
    group: Group | None = None
    metric: Text | None = None
    direction: Direction | None = None
    chat_template: bool | None = None
    generation: _Drawn | None = None


@dataclass(frozen=True, config=STRICT)
class _SuiteFile:
    name: Text
    version: int
    data: Literal["real", "mini"]
    judge: Text
    refusal_judge: Text | None = None
    tasks: Annotated[tuple[_Column, ...], Field(min_length=1)] | None = None
    helpfulness: _Column | None = None
    like: Text | None = None
    generation: _Drawn | None = None

    def __post_init__(self) -> None:
        if (self.tasks is None) == (self.like is None):
            raise ValueError(
                "a suite lists its 'tasks' or says which suite it is 'like'; give one of the two."
            )
        if self.like is not None and self.helpfulness is not None:
            raise ValueError("'helpfulness' is that of the suite it is 'like'; leave it out.")


def suite_names() -> list[str]:
    """Suites that come with the package."""
    return sorted(path.stem for path in SUITES_FOLDER.glob("*.yaml"))


def read_suite(name: str, other_suite: Callable[[str], Suite]) -> Suite:
    """Reads a suite by name, or by the path of a YAML file.

    Args:
        other_suite: reads the suite that it is ``like``.

    Raises:
        BadInput: no such suite, or a field of it is missing, unknown or of the wrong kind.
    """
    if name in suite_names():
        path = SUITES_FOLDER / f"{name}.yaml"
    elif name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.exists():
            raise BadInput(
                f"there is no suite file {name!r}; give the path of a YAML file or one of "
                f"{', '.join(suite_names())}."
            )
    else:
        raise unknown_name("suite", name, suite_names())
    content = read_yaml(path, "suite")
    if isinstance(content, dict):
        content = dict(content)
        if isinstance(content.get("tasks"), list):
            content["tasks"] = [_named(task) for task in content["tasks"]]
        if "helpfulness" in content:
            content["helpfulness"] = _named(content["helpfulness"])
    file = validated(_SuiteFile, content, str(path))
    if file.like is not None:
        other = other_suite(file.like)
        tasks, helpful = other.tasks, other.helpfulness
    else:
        assert file.tasks is not None
        tasks = tuple(
            _column(column, path, f"{path}, task {n}") for n, column in enumerate(file.tasks, 1)
        )
        helpful = None
        if file.helpfulness is not None:
            helpful = _column(file.helpfulness, path, f"{path}, helpfulness")
    _check_places(tasks, helpful, str(path))
    suite = Suite(
        *(file.name, file.version, file.data, file.judge, tasks, helpful, file.refusal_judge)
    )
    if file.generation is None:
        return suite
    own = {column.task for column in file.tasks or () if column.generation is not None}
    return suite.sampled(file.generation.over, but=own)


def _named(task: Any) -> Any:
    """A column; the name of a task, or the path of its YAML, stands for one that says no more."""
    return {"task": task} if isinstance(task, str) else task


def _column(said: _Column, suite: Path, where: str) -> SuiteTask:
    own = said.task.endswith((".yaml", ".yml"))
    task = read_task(place_of(suite.parent / said.task)) if own else packaged_task(said.task)
    given = {
        name: value
        for name in ("column", "group", "metric", "direction", "chat_template")
        if (value := getattr(said, name)) is not None
    }
    if said.generation is not None:
        given["generation"] = said.generation.over(Sampling())
    elif given.get("metric", task.metric) not in RESPONDED:
        given["generation"] = None
    found = replace(task, **given)
    if (found.generation is None) != (found.metric not in RESPONDED):
        raise BadInput(
            f"{where}: a judged task (metric harmless or answered), and no other, has "
            f"'generation'; the metric here is {found.metric!r}."
        )
    return found


def _check_places(tasks: tuple[SuiteTask, ...], helpful: SuiteTask | None, where: str) -> None:
    names = [task.task for task in tasks]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"{where}: the task {name!r} stands twice in it; leave one out.")
    for task in tasks:
        wanted = {"harm": "harmless", "answ": "answered"}.get(task.group, task.metric)
        if task.metric != wanted:
            raise BadInput(
                f"{where}: the task {task.task!r} is in the group {task.group}, whose average is "
                f"of the metric {wanted}, not {task.metric}; give it that metric or another group."
            )
        if task.group == "helpfulness":
            raise BadInput(
                f"{where}: the task {task.task!r} is annotated and enters no average; name it "
                "under 'helpfulness'."
            )
    if helpful is not None and helpful.group != "helpfulness":
        raise BadInput(f"{where}, helpfulness: 'group' must be helpfulness, not {helpful.group!r}.")
    if helpful is not None and helpful.metric != "win_rate":
        raise BadInput(f"{where}, helpfulness: 'metric' must be win_rate, not {helpful.metric!r}.")
