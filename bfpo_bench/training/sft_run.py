"""Supervised fine-tuning from a recipe to a checkpoint."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import datasets
import transformers
from accelerate import PartialState

from bfpo_bench.fingerprint import weight_fingerprint
from bfpo_bench.progress import Progress
from bfpo_bench.training.card import model_card
from bfpo_bench.training.checkpoint import finish_output, save_model
from bfpo_bench.training.layers import add_adapters, select_layers
from bfpo_bench.training.processes import join_processes
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.record import training_record
from bfpo_bench.training.run import (
    ProgressBar,
    claim_together,
    load_model,
    loop_settings,
    run_trainer,
)
from bfpo_bench.training.sft import PreparedSFT, prepare_sft, sft_trainer


def train_sft(
    recipe: Recipe,
    output: Path,
    progress: Progress,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Fine-tunes on conversations and writes a checkpoint.

    Returns:
        the content of ``training.json``.

    Raises:
        BadInput: the recipe, its data or its model are not right (before any training).
        RunFailed: the training broke off.
    """
    state = join_processes()
    # Bars of the libraries would run through ours.
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    prepared = prepare_sft(recipe, progress, trust_remote_code)
    weights = weight_fingerprint(prepared.base.weights)
    identity = {
        "recipe": recipe.as_dict(),
        "base weights": weights,
        "data": {one.name: one.digest for one in prepared.sets},
    }
    checkpoint = claim_together(output, identity, state)
    started, clock = datetime.now(UTC), time.monotonic()
    model = load_model(prepared.base, recipe.precision, trust_remote_code)
    if recipe.lora is not None:
        model = add_adapters(model, recipe.lora, recipe.layers)
    else:
        select_layers(model, recipe.layers)
    settings = _settings(prepared, output, state)
    trainer = sft_trainer(prepared, model, settings, [ProgressBar(progress)])
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    with progress.stage(f"train {recipe.method}", settings["max_steps"], unit="updates"):
        run_trainer(trainer, checkpoint)
    seconds = {"training": time.monotonic() - clock}
    save_model(trainer, prepared.tokenizer, prepared.template, output)
    data = [
        {
            "name": one.name,
            "pairs": len(one.conversations),
            "rows": len(one.conversations) + len(one.bad),
            "left_out": len(one.bad),
            "digest": one.digest,
        }
        for one in prepared.sets
    ]
    record = training_record(recipe, prepared.base, weights, data, trainer, seconds, started)
    if state.is_main_process:
        finish_output(output, record, model_card(record))
    state.wait_for_everyone()
    return record


def _settings(prepared: PreparedSFT, output: Path, state: PartialState) -> dict[str, Any]:
    recipe = prepared.recipe.optimization
    conversations = sum(len(one.conversations) for one in prepared.sets)
    at_once = min(recipe.pairs_at_once, max(1, recipe.pairs_per_update // state.num_processes))
    accumulation = max(1, recipe.pairs_per_update // (at_once * state.num_processes))
    per_update = at_once * accumulation * state.num_processes
    updates = recipe.updates or math.ceil(recipe.epochs * conversations / per_update)
    return {
        **loop_settings(prepared.recipe, output, updates, accumulation, state),
        "per_device_train_batch_size": at_once,
        "max_steps": updates,
    }
