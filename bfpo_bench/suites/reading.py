"""The YAML of a suite or a task, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.foreign import place_of
from bfpo_bench.common.yaml_text import NoRepeats, yaml_file


def read_yaml(path: Path, kind: str) -> Any:
    """What a file holds.

    Args:
        kind: ``"suite"`` or ``"task"``, for errors.

    Raises:
        BadInput: it cannot be read, or is not YAML.
    """
    try:
        return yaml_file(path, f"the {kind}", _Loader)
    except OSError as error:
        raise BadInput(
            f"the {kind} file {path} cannot be read ({error.strerror}); give one that can be."
        ) from error


def read_task_yaml(path: Path, within: tuple[Path, ...] = ()) -> Any:
    """What a task's file holds, on top of what it has from another by ``include``, as in lm-eval.

    Args:
        within: the files that include this one.

    Raises:
        BadInput: one of them cannot be read, is not YAML, or includes itself.
    """
    if path in within:
        raise BadInput(f"{path} includes itself, by {within[-1]}; mend the task's 'include'.")
    content = read_yaml(path, "task")
    if not isinstance(content, dict) or "include" not in content:
        return content
    named = content["include"]
    found: dict[str, Any] = {}
    for name in named if isinstance(named, list) else [named]:
        other = read_task_yaml(place_of(path.parent / str(name)), (*within, path))
        found |= other if isinstance(other, dict) else {}
    return found | {key: value for key, value in content.items() if key != "include"}


class _Loader(NoRepeats):
    """Plain YAML in which lm-eval's ``!function module.name`` is just a text."""


_Loader.add_constructor("!function", lambda _, node: str(node.value))
