"""From the names under ``--also`` to lm-eval's own task and group objects, with their data.

Nothing that might run foreign code, beside what is installed or in the user's own folder, is
loaded before the user has said that it may.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bfpo_bench.also.options import AlsoOptions
from bfpo_bench.common.errors import BadInput, first_line
from bfpo_bench.common.loggers import errors_only
from bfpo_bench.data import one_failure_is_enough

FEWSHOT_SEED = 1234
"""lm-eval's default, by which examples are drawn; so are the two below."""

_RANDOM_SEED, _NUMPY_SEED = 0, 1234


@dataclass
class Found:
    """What was asked for.

    Attributes:
        asked: names of tasks and groups, in the order asked for; a tag stands for its tasks.
        tasks: lm-eval's task objects by name, those of groups among them.
        groups: lm-eval's group objects by name, groups in groups among them.
        problems: what was asked for and cannot be had → why.
    """

    asked: list[str] = field(default_factory=list)
    tasks: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, BadInput] = field(default_factory=dict)


def find_tasks(options: AlsoOptions, trust_remote_code: bool = False) -> Found:
    """Loads what ``--also`` names, with the data.

    Raises:
        BadInput: a name that lm-eval does not know, a task that needs a flag which is not given, or
            two of one name that are not the same.
    """
    found = Found()
    if not options.also:
        return found
    with errors_only("lm_eval", "datasets"), one_failure_is_enough():
        manager = _manager(options)
        names = [name for given in options.also for name in _named(given, manager, options)]
        for name in names:
            _check_flags(name, manager.task_index, options, trust_remote_code)
        for name in dict.fromkeys(names):
            try:
                with lm_eval_seeds():
                    loaded = manager.load([name])
            except Exception as error:
                found.problems[name] = _unloadable(name, error, manager.task_index)
                continue
            for task in loaded["tasks"].values():
                _set_examples(task, options.num_fewshot)
                if getattr(task, "MULTIMODAL", False):
                    raise BadInput(
                        f"--also {name}: {task.task_name} shows images or plays sounds, which "
                        "nothing here can; leave it out."
                    )
            _join(found, name, loaded)
    return found


@contextmanager
def lm_eval_seeds() -> Iterator[None]:
    """Chance falls as it does in lm-eval, for tasks whose functions draw; others' goes on after."""
    import numpy as np

    before, theirs = random.getstate(), np.random.get_state()
    random.seed(_RANDOM_SEED)
    np.random.seed(_NUMPY_SEED)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(theirs)


def _manager(options: AlsoOptions) -> Any:
    """lm-eval's index of tasks; without its own 14,000, which take seconds, where none is meant."""
    from lm_eval.tasks import TaskManager

    folder = options.include_path
    if folder is None:
        return TaskManager()
    if not folder.is_dir():
        raise BadInput(f"--include-path {folder} is no folder; name one with lm-eval task files.")
    alone = TaskManager(include_path=str(folder), include_defaults=False)
    if all(_is_whole(name, alone.task_index) for name in options.also):
        return alone
    return TaskManager(include_path=str(folder))


def _is_whole(name: str, index: Mapping[str, Any]) -> bool:
    return name in index and all(_is_whole(child, index) for child in _children(index[name]))


def _children(entry: Any) -> list[str]:
    """Names of the tasks and groups that a group or tag refers to."""
    if entry.tags and entry.cfg is None:
        return sorted(entry.tags)
    members = (entry.cfg or {}).get("task")
    if not isinstance(members, list):
        return []
    named = [one if isinstance(one, str) else one.get("task", one.get("group")) for one in members]
    return [name for name in named if isinstance(name, str)]


def _named(given: str, manager: Any, options: AlsoOptions) -> list[str]:
    """The names that one stands for: itself, or those that fit a pattern."""
    if given in manager.task_index:
        return [given]
    if fitting := manager.match_tasks([given]):
        return sorted(fitting)
    if options.include_path is not None:
        _check_files(options.include_path)
    close = difflib.get_close_matches(given, manager.all_tasks, n=3)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else ""
    more = "`lm-eval ls tasks` lists what is installed, --include-path DIR adds your own."
    raise BadInput(f"--also {given!r}: lm-eval has no such task or group; {hint or more}")


def _check_files(folder: Path) -> None:
    """lm-eval passes over files that it cannot read; one of them may be what was meant."""
    from lm_eval.tasks._yaml_loader import load_yaml

    for path in sorted(folder.glob("**/*.yaml")):
        try:
            load_yaml(path, resolve_func=False)
        except Exception as error:
            raise BadInput(
                f"{path} is no task file that lm-eval can read ({first_line(error)}); mend it."
            ) from error


def _check_flags(
    name: str, index: Mapping[str, Any], options: AlsoOptions, trust_remote_code: bool
) -> None:
    """Refuses what runs code of a model's or of a data set's, unless that was allowed."""
    waiting, seen = [name], set()
    while waiting:
        one = waiting.pop()
        if one in seen or one not in index:
            continue
        seen.add(one)
        config = index[one].cfg or {}
        waiting += _children(index[one])
        if config.get("unsafe_code") and not options.confirm_run_unsafe_code:
            raise BadInput(
                f"--also {name}: {one} runs code that the model writes, on this machine; add "
                "--confirm-run-unsafe-code if that is all right (in a container, best)."
            )
        given = config.get("dataset_kwargs") or {}
        if given.get("trust_remote_code") and not trust_remote_code:
            raise BadInput(
                f"--also {name}: the data of {one} come with code that would be run; add "
                "--trust-remote-code if you trust it."
            )


def _unloadable(name: str, error: Exception, index: Mapping[str, Any]) -> BadInput:
    if isinstance(error, ModuleNotFoundError):
        return BadInput(
            f"--also {name}: it needs the Python package {error.name}, which is not installed; "
            "install it, or leave the task out."
        )
    config = index[name].cfg or {}
    path = config.get("dataset_path")
    data = f" (its data: {path})" if isinstance(path, str) else ""
    return BadInput(
        f"--also {name}: lm-eval cannot load it{data}: {first_line(error).rstrip('.')}; fetch "
        "the data once where there is a connection, or leave it out."
    )


def _set_examples(task: Any, count: int | None) -> None:
    """Number and seed of the examples before a question, by lm-eval's rules."""
    own = task.get_config("num_fewshot")
    if own is None or (count is not None and own != 0):
        # A task that says 0 means it.
        task.set_config("num_fewshot", count or 0)
    task.set_fewshot_seed(FEWSHOT_SEED)


def _join(found: Found, name: str, loaded: Mapping[str, Any]) -> None:
    groups = loaded.get("groups") or {}
    shown = _with_figures(name, groups) if name in groups else list(loaded["tasks"])
    found.asked += [one for one in shown if one not in found.asked]
    for kind, more in ((found.tasks, loaded["tasks"]), (found.groups, groups)):
        for one, new in more.items():
            if one in kind and _settings(kind[one]) != _settings(new):
                raise BadInput(
                    f"--also {','.join(found.asked)}: {one} is asked for twice, with different "
                    "settings; an item has one answer in a run, so leave one of the two out."
                )
            kind.setdefault(one, new)


def _with_figures(name: str, groups: Mapping[str, Any]) -> list[str]:
    """A group; in the place of one that lm-eval defines no figure for, what is in it."""
    if name not in groups or groups[name].has_aggregation:
        return [name]
    return [one for child in groups[name].child_names for one in _with_figures(child, groups)]


def with_parts(asked: Sequence[str], groups: Mapping[str, Any]) -> list[str]:
    """What was asked for, each followed by all that is in it."""
    order: dict[str, None] = {}
    for name in asked:
        inside = groups[name].child_names if name in groups else ()
        order |= dict.fromkeys([name, *with_parts(inside, groups)])
    return list(order)


def _settings(one: Any) -> Any:
    config = one.dump_config() if hasattr(one, "dump_config") else one.to_dict()
    return str(config)
