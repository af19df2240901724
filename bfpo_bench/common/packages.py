"""Which packages are there, found out without importing them."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec


def find_spec(name: str) -> ModuleSpec | None:
    """Where a module is; None where it cannot be had, whatever stands in the way of it.

    ``importlib``'s own raises where the package above it is missing, and where somebody's import
    hook or a module of another making does.
    """
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
