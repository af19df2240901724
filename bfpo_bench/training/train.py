"""One way in for every kind of recipe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.models.number_format import training_advice
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.reports import check_reports


def train(
    recipe: Recipe,
    output: Path,
    progress: Progress | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Trains by a recipe and writes a checkpoint; see docs/training.md.

    Args:
        output: folder for the checkpoint; ``training.json`` in it says how it was made.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Returns:
        the content of ``training.json``.

    Raises:
        BadInput: the recipe, its data or its model are not right (before any training).
        RunFailed: the training broke off; run again, it goes on from its newest checkpoint.
    """
    progress = progress or Progress(show=False)
    check_reports(recipe.report_to)
    _check_device(device)
    if advice := training_advice(recipe.precision, device):
        progress.note(f"{advice}.")
    if recipe.kind == "sft":
        if device == "cpu":
            # accelerate looks here when its state is first made.
            os.environ.setdefault("ACCELERATE_USE_CPU", "true")
        from bfpo_bench.training.sft_run import train_sft

        return train_sft(recipe, output, progress, trust_remote_code)
    if recipe.kind == "reward":
        from bfpo_bench.training.on_policy.run import train_on_policy

        return train_on_policy(recipe, output, progress, device, trust_remote_code)
    from bfpo_bench.training.pairwise.run import train_preferences

    return train_preferences(recipe, output, progress, device, trust_remote_code)


def _check_device(name: str) -> None:
    """Accelerate takes the GPU of its process, so only whether there is one can be asked for.

    Raises:
        BadInput: no such device here, or a certain one of several.
    """
    if name in ("auto", "cpu"):
        return
    from bfpo_bench.engines.hf.load import find_device

    number = find_device(name).index
    if number is not None:
        raise BadInput(
            f"training takes the first GPU that it sees; for {name} set "
            f"CUDA_VISIBLE_DEVICES={number} and give --device cuda."
        )
