"""Suites: which tasks are run, in which column and group, and how."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.sampling import Sampling

PACKAGE = Path(__file__).parent.parent
TASKS_FOLDER = PACKAGE / "tasks"
SUITES_FOLDER = PACKAGE / "suites"


@dataclass(frozen=True)
class SuiteTask:
    """One column of the table.

    Attributes:
        task: name of an lm-eval task YAML.
        column: title in the table.
        group: ``"disc"`` or ``"gen"``: the average it enters; ``"helpfulness"``: none.
        metric: lm-eval's metric of the task, ``"harmless"`` for judged responses, or
            ``"win_rate"`` for annotated ones.
        direction: ``"higher"``, ``"lower"`` or ``"nearer-50"``.
        chat_template: whether prompts go through the model's chat template.
        generation: sampling of a judged or annotated task, None for a scored one.
    """

    task: str
    column: str
    group: Literal["disc", "gen", "helpfulness"]
    metric: str
    direction: Literal["higher", "lower", "nearer-50"]
    chat_template: bool
    generation: Sampling | None = None


@dataclass(frozen=True)
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

    def only(self, names: list[str]) -> Suite:
        """The suite cut down to some of its tasks (``toxigen`` stands for ``bfpo_toxigen``)."""
        known = {t.task: t for t in self.everything}
        groups = {
            "disc": [t.task for t in self.tasks if t.group == "disc"],
            "gen": [t.task for t in self.tasks if t.group == "gen"],
        }
        if self.helpfulness is not None:
            groups["alpaca"] = [self.helpfulness.task]
        wanted: set[str] = set()
        for name in names:
            full = name if name.startswith("bfpo_") or name in known else f"bfpo_{name}"
            if full.removeprefix("bfpo_") in groups:
                wanted.update(groups[full.removeprefix("bfpo_")])
            elif full in known:
                wanted.add(full)
            else:
                raise unknown_name("task", name, [*known, "bfpo_disc", "bfpo_gen"])
        tasks = tuple(t for t in self.tasks if t.task in wanted)
        helpful = self.helpfulness
        if helpful is not None and helpful.task not in wanted:
            helpful = None
        return replace(self, tasks=tasks, helpfulness=helpful)


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
    else:
        raise unknown_name("suite", name, suite_names())
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"there is no suite file {name!r}; give the path of a YAML file or one of "
            f"{', '.join(suite_names())}."
        ) from None
    except OSError as error:
        raise BadInput(
            f"the suite file {path} cannot be read ({error.strerror}); give one that can be."
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or str(error) or type(error).__name__
        raise BadInput(
            f"{path}{where} is not YAML ({why.splitlines()[0]}); mend the suite."
        ) from error
    return _suite(content, path)


def _suite(content: Any, path: Path) -> Suite:
    where = str(path)
    _check_keys(content, Suite, where)
    rows = content["tasks"]
    _check_values(content, {"name": str, "version": int, "judge": str}, where)
    if not isinstance(rows, list) or not rows:
        raise BadInput(f"{where}: 'tasks' must be a list of at least one task.")
    if content["data"] not in ("real", "mini"):
        raise BadInput(f"{where}: 'data' must be real or mini, not {content['data']!r}.")
    tasks = tuple(_suite_task(row, f"{where}, task {n}") for n, row in enumerate(rows, 1))
    names = [t.task for t in tasks]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"{where}: the task {name!r} stands twice in it; leave one out.")
    return Suite(
        *(content["name"], content["version"], content["data"], content["judge"], tasks),
        _helpfulness(content.get("helpfulness"), where),
    )


def _helpfulness(row: Any, where: str) -> SuiteTask | None:
    if row is None:
        return None
    where = f"{where}, helpfulness"
    task = _suite_task(row, where, ("helpfulness",))
    if task.metric != "win_rate":
        raise BadInput(f"{where}: 'metric' must be win_rate, not {task.metric!r}.")
    return task


def _suite_task(row: Any, where: str, groups: tuple[str, ...] = ("disc", "gen")) -> SuiteTask:
    _check_keys(row, SuiteTask, where)
    _check_values(row, {"task": str, "column": str, "metric": str, "chat_template": bool}, where)
    if row["group"] not in groups:
        raise BadInput(f"{where}: 'group' must be {' or '.join(groups)}, not {row['group']!r}.")
    if row["direction"] not in ("higher", "lower", "nearer-50"):
        raise BadInput(
            f"{where}: 'direction' must be higher, lower or nearer-50, not {row['direction']!r}."
        )
    generation = row.get("generation")
    if (generation is None) != (row["metric"] not in ("harmless", "win_rate")):
        raise BadInput(
            f"{where}: a judged task (metric harmless), and no other, has 'generation'; the metric "
            f"here is {row['metric']!r}."
        )
    if generation is not None:
        generation = _generation(generation, f"{where}, generation")
    return SuiteTask(**{**row, "generation": generation})


def _generation(content: Any, where: str) -> Sampling:
    _check_keys(content, Sampling, where)
    found = Sampling(**content)
    limits: dict[str, tuple[Callable[[float], bool], str]] = {
        "temperature": (lambda value: 0 <= value < math.inf, "0 or more"),
        "top_p": (lambda value: 0 < value <= 1, "more than 0 and at most 1"),
        "max_new_tokens": (lambda value: 1 <= value == value // 1, "a whole number from 1 on"),
    }
    for name, (fits, what) in limits.items():
        value = getattr(found, name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not fits(value):
            raise BadInput(f"{where}: the setting {name!r} must be {what}, not {value!r}.")
    if not isinstance(found.stop, list | tuple) or not all(
        isinstance(text, str) and text for text in found.stop
    ):
        raise BadInput(f"{where}: 'stop' must be a list of texts, not {found.stop!r}.")
    return Sampling(
        int(found.max_new_tokens), float(found.temperature), float(found.top_p), tuple(found.stop)
    )


def _check_values(content: dict[str, Any], kinds: dict[str, type], where: str) -> None:
    words = {str: "a text", int: "a whole number", bool: "true or false"}
    for name, kind in kinds.items():
        value = content[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise BadInput(f"{where}: the value of {name!r} must be {words[kind]}, not {value!r}.")


def _check_keys(content: Any, kind: type, where: str) -> None:
    """Every field without a default is there, and nothing that is no field."""
    from dataclasses import MISSING

    if not isinstance(content, dict):
        raise BadInput(
            f"{where}: a mapping of names to values is needed, found "
            f"{'nothing' if content is None else type(content).__name__}."
        )
    known = {f.name: f for f in fields(kind)}
    for name in content:
        if name not in known:
            raise unknown_name(f"field in the suite {where}:", str(name), known)
    missing = [n for n, f in known.items() if f.default is MISSING and n not in content]
    if missing:
        names = ", ".join(map(repr, missing))
        raise BadInput(f"{where} has no {names}; add what is missing.")


def task_declaration(task: str) -> dict[str, Any]:
    """The content of a task's YAML, read without lm-eval; functions it names stay names.

    Raises:
        BadInput: the package has no such task.
    """
    path = TASKS_FOLDER / f"{task}.yaml"
    if not path.is_file():
        known = [p.stem for p in TASKS_FOLDER.glob("bfpo_*.yaml")]
        raise unknown_name("task", task, known)
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=_TaskLoader)
    assert isinstance(content, dict)
    return content


def prompt_kind(task: str) -> str:
    """What the responses to a task's prompts are: ``"instructions"`` or ``"continuations"``."""
    return str(task_declaration(task).get("metadata", {}).get("prompts", "instructions"))


class _TaskLoader(yaml.SafeLoader):
    """Safe YAML in which lm-eval's ``!function module.name`` is just a text."""


_TaskLoader.add_constructor("!function", lambda _, node: str(node.value))
