"""Where else a training reports: the trackers that transformers' Trainer knows and recipes name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from bfpo_bench.common.errors import BadInput, unknown_name

TRACKERS = ("tensorboard", "trackio", "wandb")
"""Names of ``report_to``, which are those of their packages."""


def check_reports(names: Sequence[str]) -> None:
    """Refuses a tracker that cannot be reported to, before anything is loaded.

    Raises:
        BadInput: an unknown name, or a package that is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("report_to", name, TRACKERS)
        if find_spec(name) is None:
            raise BadInput(
                f"report_to names {name}, which is not installed; install it (pip install {name}) "
                "or take it out of the recipe."
            )
