"""TRL's SFTTrainer over batches of our own, in whose conversations tokens may weigh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from trl import SFTTrainer

from bfpo_bench.training.held_out import HeldOut
from bfpo_bench.training.loop import OwnLoop

WEIGHTS = "token_weights"
"""What a batch calls them."""

IGNORED = -100
"""Label of a token that is not learnt."""


class ConversationTrainer(OwnLoop, SFTTrainer):  # type: ignore[misc]
    """Fine-tunes on conversations, every token of which is learnt.

    Args:
        batches: the conversations of each batch of this process, in order.
        weights: of each conversation's tokens, None where all weigh 1. The loss is the mean over
            the tokens of an update by their weights.
        held_out: conversations that are looked at and not trained on; None where there are none.
        more: as SFTTrainer has it.
    """

    def __init__(
        self,
        *,
        batches: Sequence[list[int]],
        weights: Sequence[Sequence[float] | None],
        held_out: HeldOut | None = None,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self._batches = batches
        self._held_out = held_out
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

    @torch.no_grad()
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Mean loss of a token of what is held out, by their weights, as ``eval_loss``."""
        assert self._held_out is not None, "the trainer was given nothing that is held out"
        model = self.model_wrapped
        model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        for batch, counts in self._held_out.batches:
            inputs = self._prepare_inputs(self._collate(batch))
            tokens = (inputs["labels"][:, 1:] != IGNORED).sum()
            weight = inputs[WEIGHTS][:, 1:].sum() if WEIGHTS in inputs else tokens
            with self.compute_loss_context_manager():
                loss = self.compute_loss(model, inputs)
            if counts:
                sums += torch.stack([loss * tokens, weight])
        total, count = self.accelerator.reduce(sums, reduction="sum").tolist()
        said = {"eval_loss": total / count}
        self.log(said)
        self.callback_handler.on_evaluate(self.args, self.state, self.control, said)
        return said

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
