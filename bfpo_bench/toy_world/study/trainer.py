"""One start model and one pair of preference sets in memory, and any number of trainings on them.

A run here is :func:`bfpo_bench.training.train.train` without its files: the recipe, the pairing,
the mixing, the loss, the selected layers and the trainer are the same, but what all runs share
(the model, tokens, reference log-probabilities) is made once, so that a run takes seconds.
Whatever is more than pairs and a loss goes the ordinary way. The loss of one control is here, too.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from transformers.trainer_callback import PrinterCallback

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.hf.generate import HFGeneration
from bfpo_bench.engines.tokenization import load_tokenizer
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.toy_world.evaluate import HeldOut, Shares, chat_writer, respond
from bfpo_bench.training.loop import loop_settings
from bfpo_bench.training.output import RATINGS
from bfpo_bench.training.pairwise.loss_by_name import load_loss
from bfpo_bench.training.pairwise.losses import PairLogps
from bfpo_bench.training.pairwise.prepare import PreparedPairs, prepare_pairs
from bfpo_bench.training.prepared import Run
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_parts import DataRecipe
from bfpo_bench.training.train import join_processes, train
from bfpo_bench.training.trainable import load_model, select_layers

ROWS_AT_ONCE = 400
"""Responses that are generated side by side."""

PLAIN = (
    *("method", "base", "data", "loss", "loss_parameters", "mixing", "tokens", "layers", "seed"),
    *("optimization", "precision", "gradient_checkpointing", "margin", "relabel", "first", "merge"),
)
"""Keys of a recipe that can be trained in memory; where it says more, it goes the ordinary way."""


T = TypeVar("T")
Weights = Mapping[str, torch.Tensor]


class Lab:
    """Trains and measures, always from the same start.

    Args:
        start: folder of the model that training starts from and that is the reference.
        scratch: folder for what trainings keep on disk.
    """

    def __init__(self, start: Path, scratch: Path) -> None:
        transformers.utils.logging.disable_progress_bar()
        self._state = join_processes("cpu")
        self._start = str(start)
        self._scratch = scratch
        self._tokenizer = load_tokenizer(start, False)
        self._model = load_model(find_model(self._start), "fp32")
        self._weights = _copied(self._model)
        self._made: dict[Any, Any] = {}

    def train(self, recipe: Recipe) -> None:
        """Trains from the start by a toy recipe."""
        self._take(self._stage(recipe))

    def weights(self) -> Weights:
        """Those of the model as it is now."""
        return _copied(self._model)

    def _weights_by(self, recipe: Recipe) -> Weights:
        """Trained weights."""
        if not is_plain(recipe):
            return self._by_files(recipe)
        start = self._weights if recipe.first is None else self._stage(recipe.first)
        if (q := recipe.merge) is not None:
            end = self._stage(replace(recipe, merge=None))
            return {name: (1 - q) * start[name] + q * end[name] for name in start}
        self._take(start)
        prepared = self._prepare(replace(recipe, base=self._start, first=None))
        select_layers(self._model, recipe.layers)
        _, accumulation = prepared.batches()
        settings = loop_settings(recipe, self._scratch, prepared.updates, accumulation, self._state)
        settings["logging_steps"] = prepared.updates
        with prepared.trainer(self._model, settings, [], self._run()) as trainer:
            collate = partial(self._packed, self._sets(recipe), trainer._collate)
            trainer._collate = collate  # type: ignore[method-assign]
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        return self.weights()

    def _stage(self, recipe: Recipe) -> Weights:
        stages = _text(recipe, "method", "base")
        return self._once(stages, lambda: self._weights_by(recipe))

    def _prepare(self, recipe: Recipe) -> PreparedPairs:
        """What a recipe trains on; what differs in loss and optimizer alone shares it."""
        found = self._once(
            self._sets(recipe),
            lambda: prepare_pairs(recipe, Progress(show=False)).rated(self._run()),
        )
        loss = load_loss(recipe.loss or "", recipe.loss_parameters)
        return replace(found, recipe=recipe, loss=loss)

    def _sets(self, recipe: Recipe) -> str:
        loss = () if recipe.relabel is not None else ("loss", "loss_parameters")
        return _text(recipe, "method", "base", "first", "merge", "optimization", "mixing", *loss)

    def _packed(self, sets: str, pack: Callable[[Any], Any], batch: Sequence[int]) -> Any:
        """A batch as it goes through the model: every method is shown the same ones."""
        return self._once((sets, tuple(batch)), lambda: pack(batch))

    def _once(self, key: Any, make: Callable[[], T]) -> T:
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    def _run(self) -> Run:
        """Where a training from the model as it is now runs; its weights name the reference."""
        digest = hashlib.sha256()
        for weight in self._model.parameters():
            digest.update(weight.detach().numpy().tobytes())
        here, ratings = self._scratch, self._scratch / RATINGS
        provenance = {"weights": digest.hexdigest()[:16]}
        return Run(here, ratings, provenance, None, self._state, Progress(show=False))

    def _by_files(self, recipe: Recipe) -> Weights:
        output = self._scratch / "output"
        shutil.rmtree(output, ignore_errors=True)
        train(based(recipe, self._start), output, Progress(show=False), device="cpu")
        return _copied(load_model(find_model(str(output)), "fp32"))

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


def _copied(model: Any) -> Weights:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def _text(recipe: Recipe, *but: str) -> str:
    """All that a recipe and its stages say but for some keys."""
    said = {name: one for name, one in recipe.as_dict().items() if name not in (*but, "first")}
    first = "" if recipe.first is None or "first" in but else _text(recipe.first, *but)
    return f"{first}{said}"


def is_plain(recipe: Recipe) -> bool:
    """Whether all that a recipe says is what can be trained in memory."""
    pairs = DataRecipe(name="any", pairs="naive", files=("any",))
    bare = Recipe(method="dpo", data=(pairs,), loss="dpo")
    names = {f.name for f in fields(Recipe)} - {*PLAIN}
    return all(getattr(s, name) == getattr(bare, name) for s in recipe.stages for name in names)


def based(recipe: Recipe, base: str) -> Recipe:
    """The recipe with what the first of its stages starts from."""
    first = None if recipe.first is None else based(recipe.first, base)
    return replace(recipe, base=base, first=first)


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
