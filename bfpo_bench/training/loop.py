"""Around transformers' training loop: settings, learning rates, checkpoints, how it stops."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather
from transformers import TrainerCallback

from bfpo_bench.common.errors import RunFailed, disk_is_full, first_line
from bfpo_bench.common.interrupts import held, stop_is_due
from bfpo_bench.common.progress import Progress
from bfpo_bench.training.disk import check_room, checkpoint_bytes, written
from bfpo_bench.training.output import write_manifest
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.tracked import THEIRS


def loop_settings(
    recipe: Recipe, output: Path, updates: int, accumulation: int, state: PartialState
) -> dict[str, Any]:
    """Arguments of transformers' TrainingArguments for a recipe.

    Args:
        updates: their number.
        accumulation: batches of a process in each of them.
    """
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
        "report_to": [name for name in recipe.report_to if name in THEIRS],
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


def share(schedule: str, warmup: int, updates: int, update: int) -> float:
    """Learning rate of an update, as a share of the highest.

    Update k of w that warm up has (k + 1) / w, so that none is spent at a rate of 0; after them
    cosine and linear fall from 1 towards the 0 that would come after the last update. The schedules
    of transformers begin at 0, which wastes the first update, and a training of one altogether.

    Args:
        schedule: ``cosine``, ``linear``, ``constant`` (which has no warm-up) or
            ``constant_with_warmup``.
        warmup: number of updates in which the rate rises.
        updates: number of all updates.
        update: which one, from 0.
    """
    if schedule == "constant":
        return 1.0
    if update < warmup:
        return (update + 1) / warmup
    if schedule == "constant_with_warmup":
        return 1.0
    passed = min(1.0, (update - warmup) / max(1, updates - warmup))
    return 1.0 - passed if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * passed))


class OwnLoop:
    """What a transformers Trainer needs beside it: rates by :func:`share`; words for full disks."""

    args: Any
    model: Any
    state: Any
    lr_scheduler: Any
    optimizer: Any
    _created_lr_scheduler: bool

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule of the trainer's arguments; see :meth:`transformers.Trainer`'s."""
        if self.lr_scheduler is None:
            rates = partial(
                share,
                str(getattr(self.args.lr_scheduler_type, "value", self.args.lr_scheduler_type)),
                self.args.get_warmup_steps(num_training_steps),
                num_training_steps,
            )
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer, rates
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _save_checkpoint(self, *arguments: Any, **more: Any) -> None:
        """Saves; see :meth:`transformers.Trainer`'s.

        Raises:
            RunFailed: the disk is full, or takes nothing.
        """
        size, folder = checkpoint_bytes(self.model), Path(self.args.output_dir)
        name = f"checkpoint-{self.state.global_step}"
        with written("a checkpoint", size, folder, name):
            super()._save_checkpoint(*arguments, **more)  # type: ignore[misc]


class Checkpoints(TrainerCallback):  # type: ignore[misc]
    """Saves by the clock, and when the training is asked to stop, which it does then.

    All processes save and stop at the same step, whichever of them was asked.

    Args:
        minutes: between two checkpoints; None keeps none by the clock.

    Attributes:
        stopped: that the training was asked to stop and has.
    """

    def __init__(self, minutes: float | None) -> None:
        self._seconds = math.inf if minutes is None else 60 * minutes
        self._last = time.monotonic()
        self.stopped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the clock."""
        self._last = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Decides, once for all processes."""
        due = [stop_is_due(), time.monotonic() - self._last >= self._seconds]
        process = PartialState()
        if process.num_processes > 1:
            every = gather(torch.tensor([due], dtype=torch.float32, device=process.device))
            due = (every.sum(dim=0) > 0).tolist()
        self.stopped = due[0]
        if any(due):
            control.should_save = True
            # What was not logged yet would be lost to whoever goes on from here.
            control.should_log = True
        if self.stopped:
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Notes what is in the checkpoint, so that a damaged one is known."""
        self._last = time.monotonic()
        process = PartialState()
        process.wait_for_everyone()
        if process.is_main_process:
            write_manifest(Path(args.output_dir) / f"checkpoint-{state.global_step}")


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


def run_trainer(trainer: Any, checkpoint: Path | None, advice: str) -> None:
    """Trains, from a checkpoint if there is one.

    Args:
        advice: what to do where the GPU's memory does not suffice.

    Raises:
        RunFailed: out of memory or of disk, or probabilities that are no numbers.
        KeyboardInterrupt: it was asked to stop, and has after a checkpoint.
    """
    try:
        with held():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            f"the GPU's memory does not suffice for a training step; {advice} (--set key=value)."
        ) from error
    except (OSError, RuntimeError) as error:
        if "probability tensor contains" in str(error):
            raise RunFailed(
                "the policy's probabilities are no numbers any more; lower the learning rate, or "
                "train with precision: fp32."
            ) from error
        if not disk_is_full(error):
            raise
        # Of a tracker that is reported to, say; for checkpoints see written().
        raise RunFailed(
            f"a disk is full ({first_line(error)}); free some and run the same command again: it "
            "goes on from the newest whole checkpoint."
        ) from error
    # Where another process was asked.
    if any(
        isinstance(one, Checkpoints) and one.stopped for one in trainer.callback_handler.callbacks
    ):
        raise KeyboardInterrupt


class ProgressBar(TrainerCallback):  # type: ignore[misc]
    """Shows Trainer's steps as a stage of ours, and stops where a loss or gradient is no number."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._note = self._held_out = ""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Takes the newest loss or reward.

        Raises:
            RunFailed: it or its gradient is not a number.
        """
        for name, what in (("loss", "loss"), ("grad_norm", "gradient")):
            if logs and not math.isfinite(float(logs.get(name, 0.0))):
                raise RunFailed(
                    f"the {what} stopped being a number at step {state.global_step}; lower the "
                    "learning rate, or train with precision: fp32."
                )
        if logs and "loss" in logs:
            self._note = _told(logs) + self._held_out
        if logs and "eval_loss" in logs:
            self._held_out = f"; held out: {_told(logs, 'eval_')}"
        if logs and "reward" in logs:  # on-policy, where it says more than the loss
            self._note = f"reward {float(logs['reward']):.3f}"
            if "kl" in logs:
                self._note += f", KL {float(logs['kl']):.3f} a token"

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Moves the bar."""
        self._progress.set(state.global_step, state.max_steps, self._note)


def _told(logs: Any, which: str = "") -> str:
    """Loss, and of how many pairs the log-ratio has gone where the loss wants it."""
    right = logs.get(f"{which}rewards/accuracies")
    return f"loss {float(logs[f'{which}loss']):.3f}" + (
        f", {float(right):.0%} right" if right is not None else ""
    )
