"""One start model and one pair of preference sets in memory, and any number of trainings on them.

A run here is :func:`bfpo_bench.training.train.train` without its files: the recipe, the pairing,
the mixing, the loss, the selected layers and the trainer are the same, but what all runs share
(the model, tokens, reference log-probabilities) is made once, so that a run takes seconds.
On-policy methods go the ordinary way. The loss of one control is here, too.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from transformers import TrainingArguments
from transformers.trainer_callback import PrinterCallback

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.hf.generate import HFGeneration
from bfpo_bench.engines.tokenization import load_tokenizer
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.toy_world.evaluate import HeldOut, Shares, chat_writer, respond
from bfpo_bench.training.data.load import load_set
from bfpo_bench.training.data.preferences import make_pairs
from bfpo_bench.training.data.tokenize import Limits, TokenPair, tokenize_pairs
from bfpo_bench.training.loop import loop_settings
from bfpo_bench.training.pairwise.loss_by_name import load_loss
from bfpo_bench.training.pairwise.losses import PairLogps
from bfpo_bench.training.pairwise.mismatched import mismatched_pairs
from bfpo_bench.training.pairwise.reference import loss_reference
from bfpo_bench.training.pairwise.trainer import PreferenceTrainer
from bfpo_bench.training.prepared import recipe_schedule
from bfpo_bench.training.recipe import DataRecipe, Recipe
from bfpo_bench.training.train import join_processes, train
from bfpo_bench.training.trainable import load_model, select_layers

ROWS_AT_ONCE = 400
"""Responses that are generated side by side."""


class Lab:
    """Trains and measures, always from the same start.

    Args:
        start: folder of the model that training starts from and that is the reference.
        scratch: folder for what the trainer and the reference pass keep on disk.
    """

    def __init__(self, start: Path, scratch: Path) -> None:
        transformers.utils.logging.disable_progress_bar()
        self._state = join_processes("cpu")
        self._start = start
        self._scratch = scratch
        self._tokenizer = load_tokenizer(start, False)
        self._model = load_model(find_model(str(start)), "fp32")
        self._weights = {name: p.detach().clone() for name, p in self._model.named_parameters()}
        self._tokens: dict[tuple[str, str, bool], list[TokenPair]] = {}

    def train(self, recipe: Recipe) -> None:
        """Trains from the start by a toy recipe (one update goes through the model at once)."""
        self._take(self._weights)
        if recipe.kind == "reward":
            self._train_on_policy(recipe)
            return
        select_layers(self._model, recipe.layers)
        sets = [self._pairs(one, recipe) for one in recipe.data]
        pairs = [pair for one in sets for pair in one]
        batches = list(recipe_schedule(recipe, [len(one) for one in sets]))
        loss = load_loss(recipe.loss or "", recipe.loss_parameters)
        mismatched = mismatched_pairs(loss, pairs, recipe.seed, recipe.tokens.max_length)
        reference = loss_reference(
            loss,
            [*pairs, *mismatched],
            self._model,
            recipe.precision,
            self._scratch / "reference.sqlite",
            self._state,
            Progress(show=False),
        )
        settings = loop_settings(recipe, self._scratch, len(batches), 1, self._state)
        trainer = PreferenceTrainer(
            self._model,
            TrainingArguments(**{**settings, "logging_steps": len(batches)}),
            pairs,
            reference,
            batches,
            loss,
            beta=1.0,
            mismatched=mismatched,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()

    def _train_on_policy(self, recipe: Recipe) -> None:
        output = self._scratch / "on-policy"
        shutil.rmtree(output, ignore_errors=True)
        quiet = Progress(show=False)
        train(replace(recipe, base=str(self._start)), output, quiet, device="cpu")
        self._take(dict(load_model(find_model(str(output)), "fp32").named_parameters()))

    @torch.no_grad()
    def _take(self, weights: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self._model.named_parameters():
            parameter.copy_(weights[name])

    def measure(self, requests: HeldOut, seed: int) -> Shares:
        """What the model as it is now answers to unseen requests."""
        return requests.shares(self.respond(requests.prompts, seed))

    def respond(self, prompts: Sequence[str], seed: int) -> list[str]:
        """The responses of the model as it is now."""
        self._model.eval()
        engine = HFGeneration(
            self._model,
            self._tokenizer,
            max_length=int(self._model.config.max_position_embeddings),
            pad_id=self._tokenizer.pad_token_id,
            batch_size=ROWS_AT_ONCE,
        )
        return respond(engine, chat_writer(self._tokenizer), prompts, seed)

    def _pairs(self, wanted: DataRecipe, recipe: Recipe) -> list[TokenPair]:
        key = (wanted.files[0], wanted.pairs, wanted.all_safe)
        if key not in self._tokens:
            found = load_set(wanted, recipe.seed)
            self._tokens[key], _ = tokenize_pairs(
                make_pairs(wanted.pairs, found.records),
                self._tokenizer,
                limits=Limits(recipe.tokens.max_length, recipe.tokens.max_prompt),
            )
        return self._tokens[key]


def weighted_ipo(logps: PairLogps, *, tau: float = 0.01) -> torch.Tensor:
    """IPO whose target is twice as large where the safety of the two responses differs.

    With α = 1/2 and B1 = 3 BFPO's targets are ±1/τ on such pairs and ±1/(2τ) on the others (Eq.
    14). Here the winner is IPO's own, whatever the pairing made it.

    Args:
        logps: the batch, with safety labels.
        tau: as for IPO.
    """
    if logps.chosen_safe is None or logps.rejected_safe is None:
        raise BadInput("weighted_ipo needs safety labels; take sets that have them, or ipo.")
    differs = (logps.chosen_safe != logps.rejected_safe).to(logps.chosen.dtype)
    return (logps.log_ratio - (1 + differs) / (2 * tau)).square()
