"""Around transformers' training loop: what is shown, what is kept on disk, and how it stops."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather
from safetensors import SafetensorError
from transformers import TrainerCallback

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.interrupts import held, stop_is_due
from bfpo_bench.common.progress import Progress
from bfpo_bench.training.checkpoint import write_manifest

STEP_MEMORY = (
    "the GPU's memory does not suffice for a training step; lower "
    "optimization.per_device_train_batch_size or tokens.max_length, set gradient_checkpointing: "
    "true, or train fewer layers (--set key=value)."
)

FULL = ("No space left", "Disk quota exceeded", "PytorchStreamWriter failed")
"""How the libraries that write checkpoints say that a disk is full."""


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


def run_trainer(trainer: Any, checkpoint: Path | None, memory: str = STEP_MEMORY) -> None:
    """Trains, from a checkpoint if there is one.

    Args:
        memory: what to do where the GPU's does not suffice.

    Raises:
        RunFailed: out of memory, or out of disk.
        KeyboardInterrupt: it was asked to stop, and has after a checkpoint.
    """
    try:
        with held():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as error:
        raise RunFailed(memory) from error
    except (OSError, RuntimeError, SafetensorError) as error:
        if not any(said in str(error) for said in FULL):
            raise
        raise RunFailed(
            f"the disk of {trainer.args.output_dir} is full, and no checkpoint can be written; "
            "free some room and run the same command again: it goes on from the newest whole "
            "checkpoint."
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
        self._note = ""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Takes the newest loss.

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
            self._note = f"loss {float(logs['loss']):.3f}"
            if "rewards/accuracies" in logs:
                self._note += f", {float(logs['rewards/accuracies']):.0%} right"

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Moves the bar."""
        self._progress.set(state.global_step, state.max_steps, self._note)
