"""Supervised fine-tuning from a recipe to a checkpoint."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import datasets
import transformers
from accelerate import PartialState

from bfpo_bench.common.progress import Progress
from bfpo_bench.training.card import model_card
from bfpo_bench.training.checkpoint import finish_output
from bfpo_bench.training.identity import base_identity, training_identity
from bfpo_bench.training.loop import ProgressBar, run_trainer
from bfpo_bench.training.pairwise.run import (
    claim_together,
    finished_together,
    keep_checkpoints,
    load_model,
    loop_settings,
)
from bfpo_bench.training.processes import join_processes
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.record import NAMED, training_record
from bfpo_bench.training.saving import save_model
from bfpo_bench.training.sft import PreparedSFT, prepare_sft, sft_trainer
from bfpo_bench.training.trainable import choose_weights


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
    if not state.is_main_process:
        progress = Progress(show=False)
    # Bars of the libraries would run through ours.
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    prepared = prepare_sft(recipe, progress, trust_remote_code)
    identity = training_identity(
        recipe,
        base_identity(recipe, prepared.base, trust_remote_code),
        {one.name: one.digest for one in prepared.sets},
        prepared.template,
        prepared.tokenizer,
    )
    if (finished := finished_together(output, identity, state)) is not None:
        return finished
    checkpoint = claim_together(output, identity, state)
    started, clock = datetime.now(UTC), time.monotonic()
    model = load_model(prepared.base, recipe.precision, trust_remote_code, prepared.beside)
    model = choose_weights(model, recipe)
    callbacks = [
        ProgressBar(progress),
        keep_checkpoints(recipe, output, model, state, progress),
    ]
    settings = _settings(prepared, output, state)
    schedule = prepared.schedule(state.process_index, state.num_processes)
    trainer = sft_trainer(prepared, model, settings, callbacks, schedule)
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    with progress.stage(f"train {recipe.method}", settings["max_steps"], unit="updates"):
        run_trainer(trainer, checkpoint)
    seconds = {"training": time.monotonic() - clock}
    save_model(trainer, prepared.beside, output)
    data = [
        {
            "name": one.name,
            "pairs": len(one.conversations),
            "rows": len(one.conversations) + len(one.bad),
            "left_out": len(one.bad),
            "bad_rows": one.bad[:NAMED],
            "cut": one.cut,
            "tokens": sum(map(len, one.tokens)),
            "digest": one.digest,
        }
        for one in prepared.sets
    ]
    record = training_record(
        *(recipe, prepared.base, identity, data, trainer, seconds, started),
        notes=prepared.beside.notes,
    )
    if state.is_main_process:
        finish_output(output, record, model_card(record))
    state.wait_for_everyone()
    return record


def _settings(prepared: PreparedSFT, output: Path, state: PartialState) -> dict[str, Any]:
    at_once, accumulation = prepared.batches(state.num_processes)
    return {
        **loop_settings(prepared.recipe, output, prepared.updates, accumulation, state),
        "per_device_train_batch_size": at_once,
        "max_steps": prepared.updates,
    }
