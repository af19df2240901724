"""Supervised fine-tuning, by TRL's SFTTrainer."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.tokenization import load_tokenizer
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.training.data.chat import load_conversations
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.data.load import usable
from bfpo_bench.training.data.preferences import Messages
from bfpo_bench.training.data.sampler import Schedule
from bfpo_bench.training.data.tokenize import tokenize_conversations
from bfpo_bench.training.pairwise.prepare import find_base, read_template, trained_outline
from bfpo_bench.training.rates import OwnRates
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.saving import Beside, beside, check_ids, embedding_rows, padded
from bfpo_bench.training.steerlm import steered_template


@dataclass(frozen=True)
class ConversationSet:
    """A set as it goes into fine-tuning.

    Attributes:
        tokens: ids of each conversation, cut to the recipe's ``max_length``.
        cut: how many were.
        bad: a sentence for each row that was left out.
        digest: of the conversations, in order.
    """

    name: str
    conversations: list[Messages]
    tokens: list[np.ndarray]
    cut: int
    bad: list[str]
    digest: str


@dataclass(frozen=True)
class PreparedSFT:
    """A fine-tuning ready to run.

    Attributes:
        template: chat template to save with the model, or None for the tokenizer's own; the
            recipe's, or one that asks for SteerLM's attributes.
        beside: what is saved with the weights.
    """

    recipe: Recipe
    base: ModelFiles
    tokenizer: Any
    template: str | None
    sets: list[ConversationSet]
    beside: Beside

    @property
    def updates(self) -> int:
        """Number of updates."""
        o = self.recipe.optimization
        conversations = sum(len(one.conversations) for one in self.sets)
        passed = o.num_train_epochs * conversations
        return o.max_steps or math.ceil(round(passed / o.pairs_per_update, 9))

    def batches(self, processes: int = 1) -> tuple[int, int]:
        """Conversations that go through one device at a time, and such batches in an update.

        Raises:
            BadInput: an update cannot be split into equal parts.
        """
        o = self.recipe.optimization
        share, rest = divmod(o.pairs_per_update, processes)
        if rest:
            raise BadInput(
                f"an update of {o.pairs_per_update} conversations cannot be split equally over "
                f"{processes} processes; make optimization.pairs_per_update a multiple of them."
            )
        most = o.per_device_train_batch_size
        at_once = max(n for n in range(1, share + 1) if share % n == 0 and n <= most)
        return at_once, share // at_once

    def schedule(self, rank: int = 0, world: int = 1) -> Schedule:
        """Which conversations one process sees, and when: the same updates by any number of them.

        Raises:
            BadInput: an update cannot be split into equal parts.
        """
        o = self.recipe.optimization
        size = sum(len(one.conversations) for one in self.sets)
        return Schedule(
            "shuffled",
            (size,),
            o.pairs_per_update,
            epochs=self.updates * o.pairs_per_update / size,
            seed=self.recipe.seed,
            rank=rank,
            world=world,
            accumulation=self.batches(world)[1],
        )


def prepare_sft(recipe: Recipe, progress: Progress, trust_remote_code: bool = False) -> PreparedSFT:
    """Finds the base model and reads the conversations.

    Raises:
        BadInput: something of it cannot be had, there is no chat template, or more than half of
            the conversations are too long.
    """
    base = find_base(recipe, trust_remote_code)
    model = trained_outline(recipe, base, trust_remote_code)
    template = read_template(recipe)
    tokenizer = load_tokenizer(base.folder, trust_remote_code)
    ends = ChatTemplate(tokenizer, template, recipe.tokens.date).ends
    if template is not None:
        tokenizer.chat_template = template
    if recipe.attributes:
        template = steered_template(tokenizer.chat_template, recipe.attributes, tokenizer)
    kept = beside(base, model, tokenizer, template, ends, trust_remote_code)
    sets = []
    for wanted in recipe.data:
        with progress.stage(f"read {wanted.name}", 1, unit=""):
            loaded = load_conversations(wanted, recipe.seed)
        broken: dict[int, str] = {}
        longest = recipe.tokens.max_length
        tokens, cut = tokenize_conversations(
            *(loaded.conversations, tokenizer),
            longest=longest,
            date=recipe.tokens.date,
            places=loaded.places,
            broken=broken,
        )
        conversations = usable(loaded.conversations, broken, wanted.name, wanted.skip_bad_rows)
        bad = [*loaded.bad, *broken.values()]
        for sentence in bad[:5]:
            progress.say(f"left out: {sentence}")
        text = json.dumps(conversations, ensure_ascii=False)
        digest = hashlib.sha256(text.encode()).hexdigest()
        if cut > len(tokens) / 2:
            raise BadInput(
                f"{cut} of {len(tokens)} conversations of set {wanted.name!r} are longer than "
                f"max_length ({longest} tokens) and would be cut, more than half; raise "
                "max_length, or train on shorter texts."
            )
        check_ids(model, tokenizer, tokens, wanted.name)
        sets.append(ConversationSet(wanted.name, conversations, tokens, cut, bad, digest))
    return PreparedSFT(recipe, base, tokenizer, template, sets, kept)


def sft_trainer(
    prepared: PreparedSFT,
    model: Any,
    settings: dict[str, Any],
    callbacks: list[Any],
    schedule: Schedule,
) -> Any:
    """TRL's trainer over all sets; every token of a conversation is learnt.

    Args:
        model: the base model, its layers selected.
        schedule: the conversations of this process.
        settings: what the recipe says of the loop, as arguments of transformers'
            TrainingArguments.
    """
    import datasets
    from trl import SFTConfig, SFTTrainer

    # Tokenised already, by the rules of preference pairs.
    rows = {"input_ids": [ids for one in prepared.sets for ids in one.tokens]}
    config = SFTConfig(**settings, max_length=prepared.recipe.tokens.max_length, packing=False)

    class OwnTrainer(OwnRates, SFTTrainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> DataLoader[Any]:
            """This process's batches in their order.

            Those that accelerate would share out begin the set again, in each process elsewhere,
            where it does not divide.
            """
            return DataLoader(
                self.train_dataset,
                batch_sampler=list(schedule),
                collate_fn=self.data_collator,
                num_workers=self.args.dataloader_num_workers,
            )

    return OwnTrainer(
        model=model,
        args=config,
        train_dataset=datasets.Dataset.from_dict(rows),
        processing_class=padded(prepared.tokenizer, embedding_rows(model)),
        callbacks=callbacks,
    )
