"""The YAML of a suite or a task, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
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


class _Loader(NoRepeats):
    """Plain YAML in which lm-eval's ``!function module.name`` is just a text."""


_Loader.add_constructor("!function", lambda _, node: str(node.value))
