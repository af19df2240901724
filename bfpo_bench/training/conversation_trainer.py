"""TRL's SFTTrainer over batches of our own, in whose conversations tokens may weigh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from trl import SFTTrainer

from bfpo_bench.training.loop import OwnLoop

WEIGHTS = "token_weights"
"""What a batch calls them."""


class ConversationTrainer(OwnLoop, SFTTrainer):  # type: ignore[misc]
    """Fine-tunes on conversations, every token of which is learnt.

    Args:
        batches: the conversations of each batch of this process, in order.
        weights: of each conversation's tokens, None where all weigh 1. The loss is the mean over
            the tokens of an update by their weights.
        more: as SFTTrainer has it.
    """

    def __init__(
        self,
        *,
        batches: Sequence[list[int]],
        weights: Sequence[Sequence[float] | None],
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self._batches = batches
        self._weights = weights if any(one is not None for one in weights) else None

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This process's batches in their order.

        Those that accelerate would share out begin the set again, in each process elsewhere, where
        it does not divide.
        """
        return DataLoader(
            range(len(self.train_dataset)),  # type: ignore[arg-type]
            batch_sampler=self._batches,
            collate_fn=self._collate,
            num_workers=self.args.dataloader_num_workers,
        )

    def _collate(self, batch: Sequence[int]) -> dict[str, Any]:
        found: dict[str, Any] = self.data_collator([self.train_dataset[i] for i in batch])
        if self._weights is not None:
            # Padding stands on the right and weighs nothing.
            table = torch.zeros(found["input_ids"].shape)
            for row, index in zip(table, batch, strict=True):
                size = len(self.train_dataset[index]["input_ids"])
                row[:size] = torch.tensor(self._weights[index] or [1.0] * size)
            found[WEIGHTS] = table
        return found

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **more: Any
    ) -> Any:
        """TRL's, of log-probabilities by their weights."""
        if WEIGHTS not in inputs:
            return super().compute_loss(model, inputs, return_outputs, **more)
        # The first token is predicted by none.
        weights = inputs[WEIGHTS][:, 1:]

        def weighed(**given: Any) -> Any:
            found = model(**given)
            found.log_probs = found.log_probs * weights
            return found

        plain = {name: value for name, value in inputs.items() if name != WEIGHTS}
        return super().compute_loss(weighed, plain, return_outputs, **more)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """What an update's loss is a mean over: its tokens, or the sum of their weights."""
        count = super()._get_num_items_in_batch(batch_samples, device)
        if count is None or WEIGHTS not in batch_samples[0]:
            return count
        total: Tensor = sum(one[WEIGHTS][:, 1:].sum() for one in batch_samples)
        total = total.to(device)
        return self.accelerator.gather(total).sum() if self.args.world_size > 1 else total
