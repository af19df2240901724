"""``training.json``: how a checkpoint was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.run.session import describe_environment, package_versions
from bfpo_bench.training.identity import LATER, SPECIAL
from bfpo_bench.training.recipe import Recipe

SCHEMA_VERSION = 1

NAMED = 100
"""Bad rows of a set that are named; the others are counted."""


def training_record(
    recipe: Recipe,
    base: ModelFiles,
    identity: Mapping[str, Any],
    data: Sequence[Mapping[str, Any]],
    trainer: Any,
    seconds: Mapping[str, float],
    started: datetime,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of ``training.json`` of a finished training.

    Args:
        identity: from :func:`training_identity`.
        data: for each set its name, number of pairs, digest and what else is known of it.
        trainer: the transformers Trainer that has run.
        seconds: spent, by stage.
        started: when the training began, with its time zone.
        notes: what a reader of the row should know.
    """
    parameters = trainer.model.parameters()
    return {
        "schema": SCHEMA_VERSION,
        "method": recipe.method,
        "recipe": recipe.as_dict(),
        "base": {"name": base.name, "revision": base.revision, "weights": identity["base weights"]},
        "notes": list(notes),
        "data": [dict(one) for one in data],
        "rewards": identity["rewards"],
        **{part: identity[part] for part in (*LATER, SPECIAL) if part in identity},
        "updates": trainer.state.max_steps,
        "trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "processes": trainer.args.world_size,
        "started": started.isoformat(timespec="seconds"),
        "seconds": {stage: round(value, 2) for stage, value in seconds.items()},
        "curves": trainer.state.log_history,
        "versions": package_versions(),
        "environment": describe_environment(),
    }
