"""The package's sources by name, as most tests of data want them."""

from __future__ import annotations

from typing import Any

from bfpo_bench.data import Loaded, load_source
from bfpo_bench.tasks.catalog import find_source


def load(name: str, **how: Any) -> Loaded:
    """The rows of a source of the package."""
    return load_source(find_source(name), **how)
