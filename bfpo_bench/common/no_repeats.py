"""YAML in which no key is given twice."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml


class NoRepeats(yaml.SafeLoader):
    """Plain YAML without Python objects; a key given twice is an error, not a silent last-wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the field {key!r} is there twice", node.start_mark
                )
        return super().construct_mapping(node, deep)
