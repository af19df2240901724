"""Supervised fine-tuning, by TRL's SFTTrainer; SteerLM's too, whose data say what answers are.

SteerLM (Dong et al. 2023, arXiv 2310.05344) is fine-tuning on all responses, each told apart by its
attributes in a system message (:mod:`bfpo_bench.training.data.chat`). The model is asked for good
ones afterwards: the chat template that is saved with it writes the wanted attributes itself, so
that it is evaluated and served like any other model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.progress import Progress
from bfpo_bench.models.chat import Chat, TemplateFault
from bfpo_bench.training.data.chat import (
    HELPFULNESS,
    SAFETY,
    attribute_line,
    load_conversations,
)
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.data.load import usable
from bfpo_bench.training.data.tokenize import tokenize_conversations
from bfpo_bench.training.loop import OwnLoop
from bfpo_bench.training.prepared import (
    Prepared,
    Run,
    left_out,
    open_base,
    tell_left_out,
)
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.record import set_entry
from bfpo_bench.training.saving import check_ids, embedding_rows, padded


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
    tokens: list[np.ndarray]
    cut: int
    bad: list[str]
    digest: str


@dataclass(frozen=True)
class PreparedSFT(Prepared):
    """A fine-tuning ready to run."""

    sets: list[ConversationSet]

    unit = "conversations"
    memory_advice = (
        "lower optimization.per_device_train_batch_size or tokens.max_length, set "
        "gradient_checkpointing: true, or train fewer layers"
    )

    @property
    def sizes(self) -> list[int]:
        """See :class:`Prepared`."""
        return [len(one.tokens) for one in self.sets]

    def entries(self) -> list[dict[str, Any]]:
        """See :class:`Prepared`."""
        return [
            set_entry(
                one.name,
                len(one.tokens),
                len(one.tokens) + len(one.bad),
                one.bad,
                sum(map(len, one.tokens)),
                one.digest,
                cut=one.cut,
            )
            for one in self.sets
        ]

    def describe(self) -> list[str]:
        """See :class:`Prepared`."""
        return [
            f"{one.name}: {len(one.tokens):,} conversations, {sum(map(len, one.tokens)):,} tokens; "
            f"cut: {one.cut:,} at the end{left_out(one.bad)}"
            for one in self.sets
        ]

    def make_ready(self, model: Any) -> None:
        """Nothing: there is no reference, and the base model's dropout is kept."""

    @contextmanager
    def trainer(
        self, model: Any, settings: dict[str, Any], callbacks: list[Any], run: Run
    ) -> Iterator[Any]:
        """See :class:`Prepared`; every token of a conversation is learnt."""
        import datasets
        from trl import SFTConfig, SFTTrainer

        schedule = self.schedule(run.state.process_index, run.state.num_processes)
        config = SFTConfig(
            **settings,
            per_device_train_batch_size=schedule.batch_size,
            max_steps=schedule.updates,
            max_length=self.recipe.tokens.max_length,
            packing=False,
        )

        class OwnTrainer(OwnLoop, SFTTrainer):  # type: ignore[misc]
            def get_train_dataloader(self) -> DataLoader[Any]:
                """This process's batches in their order.

                Those that accelerate would share out begin the set again, in each process
                elsewhere, where it does not divide.
                """
                return DataLoader(
                    self.train_dataset,
                    batch_sampler=list(schedule),
                    collate_fn=self.data_collator,
                    num_workers=self.args.dataloader_num_workers,
                )

        # Tokenised already, by the rules of preference pairs.
        rows = {"input_ids": [ids for one in self.sets for ids in one.tokens]}
        yield OwnTrainer(
            model=model,
            args=config,
            train_dataset=datasets.Dataset.from_dict(rows),
            processing_class=padded(self.base.tokenizer, embedding_rows(model)),
            callbacks=callbacks,
        )


def prepare_sft(recipe: Recipe, progress: Progress, trust_remote_code: bool = False) -> PreparedSFT:
    """Finds the base model and reads the conversations.

    Raises:
        BadInput: something of it cannot be had, there is no chat template, or more than half of
            the conversations are too long.
    """

    def steered(template: str, tokenizer: Any) -> str:
        return steered_template(template, recipe.attributes, tokenizer)

    base = open_base(recipe, trust_remote_code, steered if recipe.attributes else None)
    longest = recipe.tokens.max_length
    sets = []
    for wanted in recipe.data:
        with progress.stage(f"read {wanted.name}", 1, unit=""):
            loaded = load_conversations(wanted, recipe.seed)
        broken: dict[int, str] = {}
        tokens, cut = tokenize_conversations(
            *(loaded.conversations, base.tokenizer, base.template),
            longest=longest,
            date=recipe.tokens.date,
            places=loaded.places,
            broken=broken,
        )
        conversations = usable(loaded.conversations, broken, wanted.name, wanted.skip_bad_rows)
        bad = [*loaded.bad, *broken.values()]
        tell_left_out(bad, progress)
        if cut > len(tokens) / 2:
            raise BadInput(
                f"{cut} of {len(tokens)} conversations of set {wanted.name!r} are longer than "
                f"max_length ({longest} tokens) and would be cut, more than half; raise "
                "max_length, or train on shorter texts."
            )
        check_ids(base.outline, base.tokenizer, tokens, wanted.name)
        text = json.dumps(conversations, ensure_ascii=False)
        digest = hashlib.sha256(text.encode()).hexdigest()
        sets.append(ConversationSet(wanted.name, tokens, cut, bad, digest))
    return PreparedSFT(recipe, base, sets)


def steered_template(template: str, wanted: Mapping[str, int], tokenizer: Any) -> str:
    """A chat template that asks for the wanted attributes in every conversation.

    Args:
        template: the one that was trained with (Jinja).
        wanted: by name; 0 or 1.
        tokenizer: to try it with.

    Raises:
        BadInput: an unknown attribute, or a template that writes no system message.
    """
    for name in wanted:
        if name not in (HELPFULNESS, SAFETY):
            raise unknown_name("attribute", name, (HELPFULNESS, SAFETY))
    line = attribute_line(wanted)
    text = json.dumps(line)
    steered = (
        "{% if messages[0]['role'] == 'system' %}"
        f"{{% set messages = [{{'role': 'system', 'content': {text} + '\\n' + "
        "messages[0]['content']}] + messages[1:] %}"
        "{% else %}"
        f"{{% set messages = [{{'role': 'system', 'content': {text}}}] + messages %}}"
        "{% endif %}" + template
    )
    question = [{"role": "user", "content": "?"}]
    try:
        written = Chat(tokenizer, steered).write(question, False)
    except TemplateFault:
        written = ""
    if line not in written:
        raise BadInput(
            "the chat template writes no system message, where SteerLM's attributes stand; give "
            "one that does, such as tokens.chat_template: zephyr."
        )
    ChatTemplate(tokenizer, steered)
    return steered
