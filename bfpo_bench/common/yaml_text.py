"""YAML that people write: no key given twice, and what is wrong with a text in a few words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

import yaml

from bfpo_bench.common.errors import first_line

UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)
"""What reading a text that is no YAML raises."""


class NoRepeats(yaml.SafeLoader):
    """Plain YAML without Python objects; a key given twice is an error, not a silent last-wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key.value, str))
        for key, times in keys.items():
            if times > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the field {key!r} is there twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def yaml_fault(error: Exception) -> tuple[str, str]:
    """Where a text stops being YAML (``"line 3"``; empty where nobody knows), and why."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    why = str(problem).splitlines()[0] if problem else first_line(error)
    return f"line {mark.line + 1}" if mark else "", why
