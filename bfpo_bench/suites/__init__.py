"""Suites: which tasks are run, in which column and group, and how. See docs/suites.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.common.validate import STRICT, Text, validated
from bfpo_bench.common.yaml_text import UNREADABLE, NoRepeats, yaml_fault

TASKS_FOLDER = Path(__file__).parent.parent / "tasks"
SUITES_FOLDER = Path(__file__).parent

Group = Literal["disc", "gen", "helpfulness"]
Direction = Literal["higher", "lower", "nearer-50"]
PromptKind = Literal["instructions", "continuations"]

JUDGED = ("harmless", "win_rate")
"""Metrics of tasks whose responses somebody compares: a judge, or an annotator."""


@dataclasses.dataclass(frozen=True)
class SuiteTask:
    """One column of the table.

    Attributes:
        task: name of an lm-eval task.
        column: title in the table.
        group: ``"disc"`` or ``"gen"``: the average it enters; ``"helpfulness"``: none.
        metric: lm-eval's metric of the task, ``"harmless"`` for judged responses, or
            ``"win_rate"`` for annotated ones.
        direction: ``"higher"``, ``"lower"`` or ``"nearer-50"``.
        chat_template: whether prompts go through the model's chat template.
        generation: sampling of a judged or annotated task, None for a scored one.
        version: goes up with every change that can change a score.
        prompts: what a response is to the prompt; a judge says which kinds it can judge.
        source: name of the source of its rows, or the function that gives them.
        file: the task's YAML.
    """

    task: str
    column: str
    group: Group
    metric: str
    direction: Direction
    chat_template: bool
    generation: Sampling | None
    version: int
    prompts: PromptKind
    source: str
    file: Path

    @property
    def packaged(self) -> bool:
        """Whether it is one of the package's own."""
        return self.file.parent == TASKS_FOLDER


@dataclasses.dataclass(frozen=True)
class Suite:
    """A named list of tasks.

    Attributes:
        data: ``"real"`` (files or hub) or ``"mini"`` (the bundled items).
        judge: default judge card.
        tasks: what Disc. and Gen. are taken over.
        helpfulness: the task that an annotator compares with reference outputs, if it has one.
    """

    name: str
    version: int
    data: Literal["real", "mini"]
    judge: str
    tasks: tuple[SuiteTask, ...]
    helpfulness: SuiteTask | None = None

    @property
    def everything(self) -> tuple[SuiteTask, ...]:
        """All tasks, that of helpfulness last."""
        return self.tasks if self.helpfulness is None else (*self.tasks, self.helpfulness)

    @property
    def demonstration(self) -> bool:
        """Whether its numbers show that the path works and measure nothing."""
        return self.data == "mini"

    def only(self, names: Sequence[str]) -> Suite:
        """The suite cut down to some of its tasks (``toxigen`` stands for ``bfpo_toxigen``).

        Args:
            names: tasks and groups (``disc``, ``gen``, ``alpaca``). Those with a minus before them
                are taken from the others; from all that enter an average where there are none.

        Raises:
            BadInput: an unknown name, or nothing is left.
        """
        less = [name for name in names if name.startswith("-")]
        more = [name for name in names if name not in less]
        wanted = {task for name in more for task in self._called(name)}
        wanted = wanted if more else {task.task for task in self.tasks}
        wanted -= {task for name in less for task in self._called(name[1:].strip())}
        if not wanted:
            raise BadInput(
                f"--tasks {','.join(names)} leaves no task of suite {self.name}; leave out fewer."
            )
        tasks = tuple(t for t in self.tasks if t.task in wanted)
        helpful = self.helpfulness
        if helpful is not None and helpful.task not in wanted:
            helpful = None
        return replace(self, tasks=tasks, helpfulness=helpful)

    def _called(self, name: str) -> list[str]:
        """The tasks that a name stands for."""
        known = [t.task for t in self.everything]
        groups = {
            group: [t.task for t in self.tasks if t.group == group] for group in ("disc", "gen")
        }
        if self.helpfulness is not None:
            groups["alpaca"] = [self.helpfulness.task]
        full = name if name.startswith("bfpo_") or name in known else f"bfpo_{name}"
        if full.removeprefix("bfpo_") in groups:
            return groups[full.removeprefix("bfpo_")]
        if full not in known:
            raise unknown_name("task", name, [*known, "bfpo_disc", "bfpo_gen"])
        return [full]

    def typed(self, wanted: Collection[str]) -> str:
        """The shortest text for ``--tasks`` by which :meth:`only` finds just these tasks."""
        texts = []
        for base in ([], ["disc"], ["gen"], ["disc", "gen"], None):
            there = {t.task for t in self.tasks if base is None or t.group in base}
            more = [t.task for t in self.everything if t.task in wanted and t.task not in there]
            less = [t.task for t in self.tasks if t.task in there and t.task not in wanted]
            short = [task.removeprefix("bfpo_") for task in more]
            short += [f"-{task.removeprefix('bfpo_')}" for task in less]
            if base is not None or (less and not more):
                texts.append(",".join([*(base or []), *short]))
        return min(texts, key=len)


# ------------------------------------------------------------------- suite files


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


def load_suite(name: str) -> Suite:
    """Reads a suite by name, or by the path of a YAML file.

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
    content = _read_yaml(path, "suite")
    if isinstance(content, dict):
        content = dict(content)
        if isinstance(content.get("tasks"), list):
            content["tasks"] = [_named(task) for task in content["tasks"]]
        if "helpfulness" in content:
            content["helpfulness"] = _named(content["helpfulness"])
    file = validated(_SuiteFile, content, str(path))
    if file.like is not None:
        other = load_suite(file.like)
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
    suite = Suite(file.name, file.version, file.data, file.judge, tasks, helpful)
    if file.generation is None:
        return suite
    own = {column.task for column in file.tasks or () if column.generation is not None}

    def drawn(task: SuiteTask) -> SuiteTask:
        if task.generation is None or task.task in own or file.generation is None:
            return task
        return replace(task, generation=file.generation.over(task.generation))

    return replace(suite, tasks=tuple(map(drawn, tasks)), helpfulness=helpful and drawn(helpful))


def _named(task: Any) -> Any:
    """A column; the name of a task, or the path of its YAML, stands for one that says no more."""
    return {"task": task} if isinstance(task, str) else task


def _column(said: _Column, suite: Path, where: str) -> SuiteTask:
    own = said.task.endswith((".yaml", ".yml"))
    task = _task((suite.parent / said.task).resolve()) if own else _packaged(said.task)
    given = {
        name: value
        for name in ("column", "group", "metric", "direction", "chat_template")
        if (value := getattr(said, name)) is not None
    }
    if said.generation is not None:
        given["generation"] = said.generation.over(Sampling())
    elif given.get("metric", task.metric) not in JUDGED:
        given["generation"] = None
    found = replace(task, **given)
    if (found.generation is None) != (found.metric not in JUDGED):
        raise BadInput(
            f"{where}: a judged task (metric harmless), and no other, has 'generation'; the metric "
            f"here is {found.metric!r}."
        )
    return found


def _check_places(tasks: tuple[SuiteTask, ...], helpful: SuiteTask | None, where: str) -> None:
    names = [task.task for task in tasks]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"{where}: the task {name!r} stands twice in it; leave one out.")
    for task in tasks:
        if task.group == "helpfulness":
            raise BadInput(
                f"{where}: the task {task.task!r} is annotated and enters no average; name it "
                "under 'helpfulness'."
            )
    if helpful is not None and helpful.group != "helpfulness":
        raise BadInput(f"{where}, helpfulness: 'group' must be helpfulness, not {helpful.group!r}.")
    if helpful is not None and helpful.metric != "win_rate":
        raise BadInput(f"{where}, helpfulness: 'metric' must be win_rate, not {helpful.metric!r}.")


# -------------------------------------------------------------------- task files

_OPEN = ConfigDict(strict=True, extra="ignore")
"""lm-eval's keys, among which ours stand."""


@dataclass(frozen=True, config=_OPEN)
class _Metadata:
    """What a task's YAML says under ``metadata``.

    Attributes:
        groups: the field of a row that names the item's group, where several share their text.
    """

    version: int
    column: Text | None = None
    group: Literal["disc", "gen"] | None = None
    metric: Text | None = None
    direction: Direction | None = None
    chat_template: bool = False
    prompts: PromptKind = "instructions"
    groups: Text | None = None


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
    return tuple(path.stem for path in paths if "group" not in _read_yaml(path, "task"))


def prompt_kind(task: str) -> PromptKind:
    """What the responses to the prompts of a task of the package are.

    Raises:
        BadInput: the package has no such task.
    """
    return _packaged(task).prompts


@cache
def grouped_tasks() -> Mapping[str, str]:
    """Tasks of the package in which several items share their text → the field naming the group."""
    found = {}
    for name in task_names():
        content = _read_yaml(TASKS_FOLDER / f"{name}.yaml", "task")
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
def _packaged(task: str) -> SuiteTask:
    if task not in task_names():
        raise unknown_name("task", task, task_names())
    return _task(TASKS_FOLDER / f"{task}.yaml")


def _task(path: Path) -> SuiteTask:
    """What a task's YAML says; functions that it names stay names."""
    file = validated(_TaskFile, _read_yaml(path, "task"), str(path))
    own = file.metadata
    generation, metric = None, own.metric or file.metric_list[0].metric
    if file.output_type == "generate_until":
        drawn = file.generation_kwargs
        generation = Sampling(drawn.max_gen_toks, drawn.temperature, drawn.top_p, drawn.until)
        metric = own.metric or "harmless"
    better: Direction = "higher" if file.metric_list[0].higher_is_better else "lower"
    usual: Group = "disc" if generation is None else "gen"
    return SuiteTask(
        task=file.task,
        column=own.column or file.task,
        group=own.group or ("helpfulness" if metric == "win_rate" else usual),
        metric=metric,
        direction=own.direction or better,
        chat_template=own.chat_template,
        generation=generation,
        version=own.version,
        prompts=own.prompts,
        source=file.dataset_kwargs.source or file.custom_dataset,
        file=path,
    )


def _read_yaml(path: Path, kind: str) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise BadInput(
            f"the {kind} file {path} cannot be read ({error.strerror}); give one that can be."
        ) from error
    except UNREADABLE as error:
        where, why = yaml_fault(error)
        where = f", {where}" if where else ""
        raise BadInput(f"{path}{where} is not YAML ({why}); mend the {kind}.") from error


class _Loader(NoRepeats):
    """Plain YAML in which lm-eval's ``!function module.name`` is just a text."""


_Loader.add_constructor("!function", lambda _, node: str(node.value))
