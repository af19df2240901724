"""Train from a recipe: tokens, reference pass, training, checkpoint."""

from __future__ import annotations

import math
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainingArguments

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.hf.load import load_causal_model
from bfpo_bench.engines.prefix.self_check import packing_fault
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.training.card import model_card
from bfpo_bench.training.checkpoint import (
    claim_output,
    finish_output,
    finished_record,
)
from bfpo_bench.training.dropout import chance_fault, without_chance
from bfpo_bench.training.identity import base_identity, training_identity
from bfpo_bench.training.loop import Checkpoints, ProgressBar, run_trainer
from bfpo_bench.training.pairwise.margin import FILE as MARGINS
from bfpo_bench.training.pairwise.margin import with_margins
from bfpo_bench.training.pairwise.prepare import prepare
from bfpo_bench.training.pairwise.reference_pass import arithmetic, reference_logprobs
from bfpo_bench.training.pairwise.trainer import PreferenceTrainer
from bfpo_bench.training.processes import join_processes
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.record import NAMED, training_record
from bfpo_bench.training.saving import Beside, check_room, save_model
from bfpo_bench.training.trainable import choose_weights

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def train_preferences(
    recipe: Recipe,
    output: Path,
    progress: Progress | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Trains with a pairwise loss and writes a checkpoint.

    Run again with the same arguments, it goes on from the newest checkpoint of ``save_steps``; one
    that is finished is read.

    Args:
        output: folder for the checkpoint; ``training.json`` in it says how it was made.
        device: ``"auto"`` or ``"cpu"``.

    Returns:
        the content of ``training.json``.

    Raises:
        BadInput: the recipe, its data or its model are not right (before any training).
        RunFailed: the training broke off.
    """
    state = join_processes(device)
    progress = progress or Progress(show=False)
    if not state.is_main_process:
        progress = Progress(show=False)
    transformers.utils.logging.disable_progress_bar()
    prepared = prepare(recipe, progress, trust_remote_code)
    schedule = prepared.schedule(state.process_index, state.num_processes)
    made_of = base_identity(recipe, prepared.base, trust_remote_code)
    identity = training_identity(
        recipe,
        made_of,
        {one.loaded.name: one.digest for one in prepared.sets},
        prepared.template,
        prepared.tokenizer,
        {} if prepared.margin is None else {"margin": prepared.margin.identity()},
    )
    if (finished := finished_together(output, identity, state)) is not None:
        return finished
    checkpoint = claim_together(output, identity, state)
    started, clock = datetime.now(UTC), time.monotonic()
    pairs = prepared.pairs
    if prepared.margin is not None:
        pairs = with_margins(pairs, prepared.margin.rate(output, state, progress))
    model = load_model(prepared.base, recipe.precision, trust_remote_code, prepared.beside)
    fault = packing_fault(model)
    if fault is not None:
        raise BadInput(
            f"{type(model).__name__} cannot be trained with packed pairs: {fault}; take a base "
            "model of another architecture."
        )
    leave_nothing_to_chance(model)
    model = choose_weights(model, recipe)
    checkpoints = keep_checkpoints(recipe, output, model, state, progress)
    reference = reference_logprobs(
        pairs,
        model,
        recipe.precision,
        _reference_file(made_of, arithmetic(model, recipe.precision)),
        state,
        progress,
    )
    seconds = {"reference": time.monotonic() - clock}
    trainer = PreferenceTrainer(
        model,
        TrainingArguments(
            **loop_settings(recipe, output, schedule.updates, schedule.accumulation, state)
        ),
        pairs,
        reference,
        list(schedule),
        prepared.loss,
        beta=_reward_scale(recipe),
        callbacks=[ProgressBar(progress), checkpoints],
    )
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    clock = time.monotonic()
    with progress.stage(f"train {recipe.method}", schedule.updates, unit="updates"):
        run_trainer(trainer, checkpoint)
    seconds["training"] = time.monotonic() - clock
    save_model(trainer, prepared.beside, output)
    data = [
        {
            "name": one.loaded.name,
            "pairs": one.counts.pairs,
            "rows": one.loaded.rows,
            "left_out": len(one.loaded.bad),
            "bad_rows": one.loaded.bad[:NAMED],
            "cut": one.counts.cut,
            "tokens": one.counts.prompt_tokens + one.counts.response_tokens,
            "digest": one.digest,
        }
        for one in prepared.sets
    ]
    record = training_record(
        *(recipe, prepared.base, identity, data, trainer, seconds, started),
        notes=prepared.beside.notes,
    )
    if state.is_main_process:
        (output / MARGINS).unlink(missing_ok=True)
        finish_output(output, record, model_card(record))
    state.wait_for_everyone()
    return record


def load_model(
    base: ModelFiles,
    precision: str,
    trust_remote_code: bool = False,
    beside: Beside | None = None,
) -> Any:
    """The base model on the CPU, its weights in the recipe's precision.

    Args:
        beside: what will be saved with it; the model's generation config is that of the training
            then, and the folder's is not read.

    Raises:
        BadInput: its folder holds no whole checkpoint of a causal language model.
    """
    meanwhile = None if beside is None else beside.while_training
    return load_causal_model(
        base.folder, DTYPES[precision], torch.device("cpu"), trust_remote_code, meanwhile
    )


def leave_nothing_to_chance(model: Any) -> None:
    """Switches off dropout and its like, so that policy and reference compute alike.

    Raises:
        BadInput: the model computes otherwise in training even so.
    """
    without_chance(model)
    if (fault := chance_fault(model)) is not None:
        raise BadInput(
            f"{type(model).__name__} cannot be trained against a reference: {fault}; take a base "
            "model of another architecture, or SFT."
        )


def finished_together(
    output: Path, identity: dict[str, Any], state: PartialState
) -> dict[str, Any] | None:
    """:func:`finished_record` by the main process, for all."""
    record: dict[str, Any] | None
    [record] = broadcast_object_list(
        [finished_record(output, identity) if state.is_main_process else None]
    )
    return record


def claim_together(output: Path, identity: dict[str, Any], state: PartialState) -> Path | None:
    """:func:`claim_output` by the main process, for all.

    Raises:
        BadInput: the folder holds something else.
        RunFailed: this process does not see the checkpoint to go on from.
    """
    claimed = claim_output(output, identity) if state.is_main_process else None
    checkpoint: Path | None
    [checkpoint] = broadcast_object_list([claimed])
    if checkpoint is not None and not checkpoint.is_dir():
        raise RunFailed(
            f"process {state.process_index} of {state.num_processes} does not see {checkpoint}, "
            "from which the training goes on; put --output on a disk that all nodes share."
        )
    return checkpoint


def _reference_file(made_of: dict[str, str], arithmetic: str) -> Path:
    """Named after all that log-probabilities depend on besides the tokens, which are its keys."""
    home = Path(os.environ.get("BFPO_CACHE_DIR", "~/.cache/bfpo-bench")).expanduser()
    model = [made_of[part] for part in ("weights", "settings", "code") if part in made_of]
    return home / "reference" / f"{'-'.join((*model, arithmetic))}.sqlite"


def _reward_scale(recipe: Recipe) -> float:
    """What scales log-ratios to implicit rewards: the loss's own β or τ."""
    parameters = recipe.loss_parameters
    return float(parameters.get("beta", parameters.get("tau", 0.01)))


def keep_checkpoints(
    recipe: Recipe, output: Path, model: Any, state: PartialState, progress: Progress
) -> Checkpoints:
    """What saves by the clock, where the main process's disk has room for it.

    Raises:
        BadInput: it has none for what the recipe asks for.
    """
    mine = check_room(output, model, recipe) if state.is_main_process else None
    room: bool
    [room] = broadcast_object_list([mine])
    if not room and recipe.save_minutes is not None:
        progress.say(
            f"The disk of {output} has no room for checkpoints, so none is kept by the clock: a "
            "training that is cut off begins again."
        )
    return Checkpoints(recipe.save_minutes if room else None)


def loop_settings(
    recipe: Recipe, output: Path, updates: int, accumulation: int, state: PartialState
) -> dict[str, Any]:
    """Arguments of transformers' TrainingArguments for a recipe."""
    o = recipe.optimization
    return {
        "output_dir": str(output),
        "learning_rate": o.learning_rate,
        "lr_scheduler_type": o.lr_scheduler_type,
        "warmup_steps": math.ceil(o.warmup_ratio * updates),
        "weight_decay": o.weight_decay,
        "max_grad_norm": o.max_grad_norm,
        "gradient_accumulation_steps": accumulation,
        "bf16": recipe.precision == "bf16",
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "seed": recipe.seed,
        "report_to": list(recipe.report_to),
        "logging_steps": max(1, updates // 100),
        # Otherwise a loss that is no number is logged as one.
        "logging_nan_inf_filter": False,
        "save_strategy": "no" if recipe.save_steps is None else "steps",
        "save_steps": recipe.save_steps or 500,
        "save_total_limit": 2,
        "use_cpu": state.device.type == "cpu",
        "disable_tqdm": True,
        # Every trained weight takes part in every step; looking for others costs time.
        "ddp_find_unused_parameters": False,
        # One optimizer for all: fused where there is a GPU.
        "optim": "adamw_torch_fused" if state.device.type == "cuda" else "adamw_torch",
    }
