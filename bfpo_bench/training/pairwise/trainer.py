"""Pairwise preference training on transformers.Trainer, with packed forward passes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.files import atomic_write
from bfpo_bench.engines.prefix.chains import use_chain_attention
from bfpo_bench.training.data.tokenize import TokenPair
from bfpo_bench.training.held_out import HeldOut
from bfpo_bench.training.loop import OwnLoop
from bfpo_bench.training.pairwise.losses import Loss, PairLogps, rewards, wanted_sign
from bfpo_bench.training.pairwise.packing import PackedPairs, pack_pairs, response_logprobs


class PreferenceTrainer(OwnLoop, Trainer):  # type: ignore[misc]
    """Trains a causal model on preference pairs.

    transformers' Trainer brings the loop: optimizer, schedule, precision, checkpoints and
    resuming, reports, and through accelerate DDP, FSDP and DeepSpeed. What is here: which pairs
    go into which step, the packed forward, the loss and its metrics. The reference model is not
    in memory; its log-probabilities come with the pairs.

    Args:
        model: a transformers causal model (or a PEFT model of one), layers already selected.
        args: settings of the loop; ``max_steps`` and ``per_device_train_batch_size`` are set here
            from the batches.
        pairs: all pairs.
        reference: log-probabilities of (chosen, rejected) of each pair under the reference model,
            and then of each mismatched one. None for a loss that reads none: its rewards are told
            by mean log-probabilities of tokens instead.
        batches: the pairs of each micro-batch of this process, in order, for the whole training.
        loss: with its parameters filled in.
        beta: scales log-ratios to the rewards of the metrics.
        held_out: pairs that are looked at and not trained on; None where there are none.
        mismatched: each pair's prompt with a response to another, for a loss that reads the
            divergence of the policy from the reference.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        pairs: Sequence[TokenPair],
        reference: Sequence[tuple[float, float]] | None,
        batches: Sequence[Sequence[int]],
        loss: Loss,
        beta: float,
        held_out: HeldOut | None = None,
        mismatched: Sequence[TokenPair] = (),
        **kwargs: Any,
    ) -> None:
        args.remove_unused_columns = False
        args.num_train_epochs = 1
        args.per_device_train_batch_size = max(map(len, batches))
        # Several GPUs in one process would mean nn.DataParallel, which cannot split packed rows.
        args._n_gpu = min(args.n_gpu, 1)
        use_chain_attention(model)
        super().__init__(model=model, args=args, train_dataset=range(len(pairs)), **kwargs)
        self.model_accepts_loss_kwargs = False
        self._pairs = pairs
        self._batches = [list(batch) for batch in batches]
        self._reference = reference or [(0.0, 0.0)] * len(pairs)
        self._loss = loss
        self._beta = beta
        self._mismatched = mismatched
        every = range(len(pairs))
        nothing = torch.zeros(len(pairs), device=args.device)
        wanted = wanted_sign(loss, self._with_reference(every, nothing, nothing))
        self._metrics = PairMetrics(pairs, wanted, args.device, per_token=reference is None)
        self._held_out = held_out
        if held_out is not None:
            self.add_callback(held_out)
        if self.accelerator.is_fsdp2:
            # accelerate's own policy would round what forward returns to 16 bits, and 300 nats
            # have steps of 2 nats there. The packed forward takes products in 16 bits by
            # itself, as on one device.
            self.accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(
                reduce_dtype=torch.float32, cast_forward_inputs=False
            )

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trains; see :meth:`transformers.Trainer.train`."""
        # Wrappers (DDP, FSDP, DeepSpeed) work on what goes through the model's forward. While
        # training that is the packed forward; otherwise the model's own.
        self.model.forward = partial(
            response_logprobs, self.model, products=torch.bfloat16 if self.args.bf16 else None
        )
        try:
            return super().train(*args, **kwargs)
        finally:
            del self.model.forward

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The micro-batches in their order; they are this process's already."""
        return DataLoader(
            self.train_dataset,
            batch_sampler=self._batches,
            collate_fn=self._collate,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=False,
        )

    def _collate(self, batch: Sequence[int]) -> dict[str, Any]:
        return {"batch": list(batch), "packed": pack_pairs([self._pairs[i] for i in batch])}

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        """Mean loss of a micro-batch."""
        batch: list[int] = inputs["batch"]
        packed: PackedPairs = inputs["packed"]
        logps = self._measured(model, batch, packed)
        losses = self._loss(logps)
        loss = losses.mean()
        if not torch.isfinite(loss):
            raise self._not_a_number(batch, logps, losses)
        self._metrics.add(batch, logps, self._beta)
        return (loss, {"logps": logps}) if return_outputs else loss

    @torch.no_grad()
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Loss and metrics of the held-out pairs, as ``eval_…`` in the log.

        While training alone: it goes through the packed forward.
        """
        assert self._held_out is not None, "the trainer was given no held-out pairs"
        kept, self._metrics = self._metrics, self._metrics.empty()
        model = self.model_wrapped
        model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        for batch, counts in self._held_out.batches:
            packed = pack_pairs([self._pairs[i] for i in batch])
            with self.compute_loss_context_manager():
                logps = self._measured(model, batch, packed)
            if counts:
                losses = self._loss(logps)
                sums += torch.stack([losses.sum(), torch.ones_like(losses).sum()])
                self._metrics.add(batch, logps, self._beta)
        total, count = self.accelerator.reduce(sums, reduction="sum").tolist()
        found = {"loss": total / count, **self._metrics.take(self.accelerator)}
        self._metrics = kept
        said = {f"eval_{name}": value for name, value in found.items()}
        self.log(said)
        self.callback_handler.on_evaluate(self.args, self.state, self.control, said)
        return said

    def _measured(self, model: Any, batch: Sequence[int], packed: PackedPairs) -> PairLogps:
        """What the loss sees of a micro-batch."""
        divergence = self._divergence(model, batch) if self._mismatched else None
        found = self._with_reference(batch, *model(packed))
        return replace(found, divergence=divergence)

    @torch.no_grad()
    def _divergence(self, model: Any, batch: Sequence[int]) -> Tensor:
        """Mean log-ratio of responses to other prompts, over the micro-batches of all processes."""
        now, _ = model(pack_pairs([self._mismatched[i] for i in batch]))
        before = [self._reference[len(self._pairs) + i][0] for i in batch]
        mean = (now - torch.tensor(before, device=now.device)).mean()
        mean_of_all: Tensor = self.accelerator.reduce(mean, reduction="mean")
        return mean_of_all.expand(len(batch))

    def _with_reference(self, batch: Sequence[int], chosen: Tensor, rejected: Tensor) -> PairLogps:
        pairs = [self._pairs[i] for i in batch]

        def tensor(values: Sequence[Any], dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=chosen.device)

        def known(values: Sequence[Any], dtype: torch.dtype) -> Tensor | None:
            return None if None in values else tensor(values, dtype)

        return PairLogps(
            chosen=chosen,
            rejected=rejected,
            ref_chosen=tensor([self._reference[i][0] for i in batch]),
            ref_rejected=tensor([self._reference[i][1] for i in batch]),
            chosen_tokens=tensor([_weight(pair.chosen, pair.chosen_weights) for pair in pairs]),
            rejected_tokens=tensor(
                [_weight(pair.rejected, pair.rejected_weights) for pair in pairs]
            ),
            chosen_safe=known([pair.chosen_safe for pair in pairs], torch.bool),
            rejected_safe=known([pair.rejected_safe for pair in pairs], torch.bool),
            margin=known([pair.margin for pair in pairs], torch.float32),
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds rewards, margins and accuracies since the last log to what Trainer reports."""
        if "loss" in logs:
            logs.update(self._metrics.take(self.accelerator))
        super().log(logs, start_time)

    def _not_a_number(self, batch: list[int], logps: PairLogps, losses: Tensor) -> RunFailed:
        path = Path(self.args.output_dir) / "nan-batch.json"
        rows = [
            {
                "pair": index,
                "source": self._pairs[index].source,
                "loss": repr(losses[k].item()),
                "chosen_logprob": repr(logps.chosen[k].item()),
                "rejected_logprob": repr(logps.rejected[k].item()),
                "prompt_ids": list(self._pairs[index].prompt),
                "chosen_ids": list(self._pairs[index].chosen),
                "rejected_ids": list(self._pairs[index].rejected),
            }
            for k, index in enumerate(batch)
        ]
        atomic_write(path, json.dumps(rows, indent=1))
        return RunFailed(
            f"the loss is not a number at step {self.state.global_step + 1}; its batch is in "
            f"{path}. Lower the learning rate, or train with precision: fp32."
        )


class PairMetrics:
    """Running means of rewards and accuracies: overall, by set and by safety of the two responses.

    Micro-batches are only kept when they come, so that no step waits for a GPU to count.

    Args:
        pairs: all pairs of the training: they say which sets and classes there are, so that all
            processes report the same ones.
        wanted: which way the loss wants each pair's log-ratio to go (see
            :func:`bfpo_bench.training.pairwise.losses.wanted_sign`): a pair is right where it
            has gone there. Where the loss wants neither, it is not counted.
        device: where sums over the processes are made.
        per_token: see :func:`~bfpo_bench.training.pairwise.losses.rewards`.
    """

    def __init__(
        self,
        pairs: Sequence[TokenPair],
        wanted: Tensor,
        device: torch.device,
        per_token: bool = False,
    ) -> None:
        self._wanted = wanted
        self._per_token = per_token
        self._groups = [
            [f"_{name}" for name in (pair.source, _safety(pair)) if name] for pair in pairs
        ]
        every = sorted({group for groups in self._groups for group in groups})
        self._names = ["rewards/chosen", "rewards/rejected", "rewards/margins", "kl"]
        self._names += [f"rewards/accuracies{group}" for group in ["", *every]]
        self._device = device
        self._kept: list[tuple[Sequence[int], Tensor]] = []

    def empty(self) -> PairMetrics:
        """The same with nothing added yet."""
        found = copy(self)
        found._kept = []
        return found

    def add(self, batch: Sequence[int], logps: PairLogps, beta: float) -> None:
        """Keeps the rewards of a micro-batch."""
        found = rewards(logps, beta, self._wanted[list(batch)], per_token=self._per_token)
        columns = [found.chosen, found.rejected, found.margins, found.accuracies]
        if logps.divergence is not None:
            columns.append(logps.divergence.clamp(min=0))
        self._kept.append((batch, torch.stack(columns, dim=1)))

    def take(self, accelerator: Any) -> dict[str, float]:
        """Means over all processes since the last call; what was not seen is left out."""
        sums = {name: [0.0, 0.0] for name in self._names}
        for batch, rows in self._kept:
            for index, (good, bad, margin, right, *kl) in zip(batch, rows.tolist(), strict=True):
                values = {
                    "rewards/chosen": good,
                    "rewards/rejected": bad,
                    "rewards/margins": margin,
                    **dict(zip(["kl"], kl, strict=False)),
                }
                for group in ["", *self._groups[index]]:
                    values[f"rewards/accuracies{group}"] = right
                for name, value in values.items():
                    if not math.isnan(value):
                        sums[name][0] += value
                        sums[name][1] += 1
        self._kept.clear()
        # [metrics, 2]: sum and count.
        table = torch.tensor(list(sums.values()), dtype=torch.float64, device=self._device)
        totals = accelerator.reduce(table, reduction="sum").tolist()
        means = {
            name: total / count
            for name, (total, count) in zip(self._names, totals, strict=True)
            if count
        }
        return {name: value for name, value in means.items() if math.isfinite(value)}


def _weight(response: Sequence[int], weights: Sequence[float] | None) -> float:
    return len(response) if weights is None else math.fsum(weights)


def _safety(pair: TokenPair) -> str | None:
    """``safe>unsafe`` and the like: the chosen response's safety, then the rejected one's."""
    if pair.chosen_safe is None or pair.rejected_safe is None:
        return None
    return ">".join("safe" if safe else "unsafe" for safe in (pair.chosen_safe, pair.rejected_safe))
