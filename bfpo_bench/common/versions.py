"""Versions of what is installed, for records of what an answer was made with."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from bfpo_bench import __version__

OURS = "bfpo-bench"


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """Versions of those distributions that are installed, in the order given.

    Our own is that of the code that runs: what an editable install noted of it is as old as the
    install.
    """
    found = {}
    for name in names:
        try:
            found[name] = __version__ if name == OURS else metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
