"""A run that is gone on with, in the number format that it was begun in.

``--dtype auto`` may choose another one on the machine, or in the version, that goes on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.options import TargetOptions
from bfpo_bench.evaluation.target import LocalTarget, Target
from bfpo_bench.models.number_format import go_on_with
from bfpo_bench.run.directory import read_run


def begun_identity(folder: Path, fresh: bool) -> dict[str, Any]:
    """The identity of the run in a folder; nothing where none is, or it is to be forgotten."""
    try:
        return {} if fresh else dict(read_run(folder)["identity"])
    except BadInput:  # no run yet, or a damaged one, of which the run directory tells
        return {}


def target_going_on(target: Target, options: TargetOptions, identity: dict[str, Any]) -> Target:
    """The target in the number format of the run that is gone on with, where ``auto`` chose.

    Args:
        identity: the run's, as it is stored.
    """
    if options.loading.dtype != "auto" or not isinstance(target, LocalTarget):
        return target
    chosen = options.loading.number_format(target.files)
    dtype = go_on_with(target.files, chosen, identity.get("dtype")).dtype
    return replace(target, engine_options=replace(target.engine_options, dtype=dtype))


def format_note(target: Target, options: TargetOptions) -> str | None:
    """What to say of the target's number format when it is loaded, if anything."""
    if not isinstance(target, LocalTarget):
        return None
    return go_on_with(target.files, options.loading.number_format(target.files), target.dtype).note
