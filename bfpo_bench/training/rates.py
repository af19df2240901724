"""The learning rate of each update, the same for every kind of recipe."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch


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


class OwnRates:
    """What a transformers Trainer needs beside it to go by :func:`share`."""

    args: Any
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
