"""Joining the processes that a launcher has started."""

from __future__ import annotations

import os

import torch
from accelerate import PartialState


def join_processes(device: str = "auto") -> PartialState:
    """The state of this process among those of torchrun or accelerate launch; alone without them.

    Without a GPU accelerate has to be told so: otherwise each of several processes takes itself
    for the only one, and all of them train on everything.

    Args:
        device: ``"auto"`` or ``"cpu"``.
    """
    if device == "cpu" or not torch.accelerator.is_available():
        # Trainer looks here when it makes the state anew.
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("1", "true", "yes")
    return PartialState(cpu=on_cpu)
