"""Settings within settings, by names with dots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def dotted(settings: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """``{"model": {"name": "zephyr"}}`` as ``("model.name", "zephyr")``; an empty one is a value.

    Args:
        at: the name that all of them stand under.
    """
    for name, value in settings.items():
        where = f"{at}.{name}" if at else str(name)
        if isinstance(value, Mapping) and value:
            yield from dotted(value, where)
        else:
            yield where, value
