"""Supervised fine-tuning, by TRL's SFTTrainer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from bfpo_bench.engines.tokenization import load_tokenizer
from bfpo_bench.models import ModelFiles
from bfpo_bench.progress import Progress
from bfpo_bench.training.conversations import load_conversations
from bfpo_bench.training.prepare import find_base, read_template
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.records import Messages
from bfpo_bench.training.rendering import ChatTemplate
from bfpo_bench.training.steerlm import steered_template


@dataclass(frozen=True)
class ConversationSet:
    """A set as it goes into fine-tuning.

    Attributes:
        bad: a sentence for each row that was left out.
        digest: of the conversations, in order.
    """

    name: str
    conversations: list[Messages]
    bad: list[str]
    digest: str


@dataclass(frozen=True)
class PreparedSFT:
    """A fine-tuning ready to run.

    Attributes:
        template: chat template to save with the model, or None for the tokenizer's own; the
            recipe's, or one that asks for SteerLM's attributes.
    """

    recipe: Recipe
    base: ModelFiles
    tokenizer: Any
    template: str | None
    sets: list[ConversationSet]


def prepare_sft(recipe: Recipe, progress: Progress, trust_remote_code: bool = False) -> PreparedSFT:
    """Finds the base model and reads the conversations.

    Raises:
        BadInput: something of it cannot be had, or there is no chat template.
    """
    base = find_base(recipe)
    template = read_template(recipe)
    tokenizer = load_tokenizer(base.folder, trust_remote_code)
    ChatTemplate(tokenizer, template)
    if template is not None:
        tokenizer.chat_template = template
    if recipe.attributes:
        template = steered_template(tokenizer.chat_template, recipe.attributes, tokenizer)
    sets = []
    for wanted in recipe.data:
        with progress.stage(f"read {wanted.name}", 1, unit=""):
            conversations, bad = load_conversations(wanted, recipe.seed)
        text = json.dumps(conversations, ensure_ascii=False)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        sets.append(ConversationSet(wanted.name, conversations, bad, digest))
    return PreparedSFT(recipe, base, tokenizer, template, sets)


def sft_trainer(
    prepared: PreparedSFT, model: Any, settings: dict[str, Any], callbacks: list[Any]
) -> Any:
    """TRL's trainer over all sets, shuffled; every token of a conversation is learnt.

    Args:
        model: the base model, its layers selected.
        settings: what the recipe says of the loop, as arguments of transformers'
            TrainingArguments.
    """
    import datasets
    from trl import SFTConfig, SFTTrainer

    rows = [
        {"messages": [{"role": role, "content": text} for role, text in conversation]}
        for one in prepared.sets
        for conversation in one.conversations
    ]
    tokenizer = prepared.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    config = SFTConfig(**settings, max_length=prepared.recipe.tokens.max_length, packing=False)
    return SFTTrainer(
        model=model,
        args=config,
        train_dataset=datasets.Dataset.from_list(rows).shuffle(seed=prepared.recipe.seed),
        processing_class=tokenizer,
        callbacks=callbacks,
    )
