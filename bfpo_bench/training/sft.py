"""Supervised fine-tuning, by TRL's SFTTrainer; SteerLM's and RAFT's too.

SteerLM (Dong et al. 2023, arXiv 2310.05344) is fine-tuning on all responses, each told apart by its
attributes in a system message (:mod:`bfpo_bench.training.data.chat`). The model is asked for good
ones afterwards: the chat template that is saved with it writes the wanted attributes itself, so
that it is evaluated and served like any other model.

RAFT is fine-tuning on answers that the start model gives itself, which
:mod:`bfpo_bench.training.on_policy.best` samples and chooses before the model is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.progress import Progress
from bfpo_bench.models.chat import Chat, TemplateFault
from bfpo_bench.training.data.chat import (
    HELPFULNESS,
    PROMPTS_ONLY,
    SAFETY,
    PromptSet,
    attribute_line,
    load_conversations,
)
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.data.load import usable
from bfpo_bench.training.data.preferences import Messages, Segments
from bfpo_bench.training.data.tokenize import conversation_weights, tokenize_conversations
from bfpo_bench.training.on_policy.best import BestOf, choose_best_of
from bfpo_bench.training.on_policy.prompts import (
    prompt_entry,
    prompt_line,
    read_prompts,
)
from bfpo_bench.training.prepared import (
    Base,
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
        digest: of the conversations and what weighs in them, in order.
        weights: of each one's tokens; None where all weigh 1.
    """

    name: str
    tokens: list[np.ndarray]
    cut: int
    bad: list[str]
    digest: str
    weights: list[list[float] | None]

    def entry(self) -> dict[str, Any]:
        """What ``training.json`` says of it."""
        return set_entry(
            self.name,
            len(self.tokens),
            len(self.tokens) + len(self.bad),
            self.bad,
            sum(map(len, self.tokens)),
            self.digest,
            cut=self.cut,
        )

    def __str__(self) -> str:
        counts = f"{len(self.tokens):,} conversations, {sum(map(len, self.tokens)):,} tokens"
        return f"{self.name}: {counts}; cut: {self.cut:,} at the end{left_out(self.bad)}"


@dataclass(frozen=True)
class PreparedSFT(Prepared):
    """A fine-tuning ready to run.

    Attributes:
        sets: prompts alone are answered by the start model before it is trained.
        own: what does that; None where all answers are given.
        answered: what ``training.json`` says of its answers.
    """

    sets: list[ConversationSet | PromptSet]
    own: BestOf | None = None
    answered: Mapping[str, Any] | None = None

    unit = "conversations"
    memory_advice = (
        "lower optimization.per_device_train_batch_size or tokens.max_length, set "
        "gradient_checkpointing: true, or train fewer layers"
    )

    @property
    def sizes(self) -> list[int]:
        """See :class:`Prepared`."""
        return [len(one.prompts if isinstance(one, PromptSet) else one.tokens) for one in self.sets]

    def reward_identities(self) -> dict[str, Any]:
        """See :class:`Prepared`."""
        return {} if self.own is None else self.own.ratings.identity()

    def entries(self) -> list[dict[str, Any]]:
        """See :class:`Prepared`."""
        return [
            prompt_entry(one) if isinstance(one, PromptSet) else one.entry() for one in self.sets
        ]

    def describe(self) -> list[str]:
        """See :class:`Prepared`."""
        lines = [prompt_line(o) if isinstance(o, PromptSet) else str(o) for o in self.sets]
        return [*lines, *([str(self.own)] if self.own else [])]

    def rated(self, run: Run) -> Self:
        """With answers to prompts that had none."""
        if self.own is None:
            return self
        asked = [one for one in self.sets if isinstance(one, PromptSet)]
        said, answered = self.own.answers(self.base.files, asked, run)
        made = {
            one.name: _conversation_set(self.recipe, self.base, one.name, talks, [], True)
            for one, talks in zip(asked, said, strict=True)
        }
        answered["left_out"] += sum(len(one.bad) for one in made.values())
        return replace(self, sets=[made.get(one.name, one) for one in self.sets], answered=answered)

    def found(self) -> dict[str, Any]:
        """See :class:`Prepared`."""
        return {} if self.answered is None else {"best_of": dict(self.answered)}

    def make_ready(self, model: Any) -> None:
        """Nothing: there is no reference, and the base model's dropout is kept."""

    @contextmanager
    def trainer(
        self, model: Any, settings: dict[str, Any], callbacks: list[Any], run: Run
    ) -> Iterator[Any]:
        """See :class:`Prepared`; every token of a conversation is learnt."""
        import datasets
        from trl import SFTConfig

        from bfpo_bench.training.conversation_trainer import ConversationTrainer

        schedule = self.schedule(run.state.process_index, run.state.num_processes)
        config = SFTConfig(
            **settings,
            per_device_train_batch_size=schedule.batch_size,
            max_steps=schedule.updates,
            max_length=self.recipe.tokens.max_length,
            packing=False,
        )

        # Tokenised already, by the rules of preference pairs.
        sets = [one for one in self.sets if isinstance(one, ConversationSet)]
        ids = [ids for one in sets for ids in one.tokens]
        yield ConversationTrainer(
            model=model,
            args=config,
            train_dataset=datasets.Dataset.from_dict({"input_ids": ids}),
            processing_class=padded(self.base.tokenizer, embedding_rows(model)),
            callbacks=callbacks,
            batches=list(schedule),
            weights=[weights for one in sets for weights in one.weights],
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
    sets: list[ConversationSet | PromptSet] = []
    for wanted in recipe.data:
        if wanted.pairs == PROMPTS_ONLY:
            sets.append(read_prompts(recipe, wanted, base, progress))
            continue
        with progress.stage(f"read {wanted.name}", 1, unit=""):
            loaded = load_conversations(wanted, recipe.seed)
        one = _conversation_set(
            *(recipe, base, wanted.name, loaded.conversations, loaded.bad, wanted.skip_bad_rows),
            places=loaded.places,
            weights=loaded.weights,
        )
        tell_left_out(one.bad, progress)
        sets.append(one)
    own = None
    if recipe.rewards:
        prompts = [p for one in sets if isinstance(one, PromptSet) for p in one.prompts]
        own = choose_best_of(recipe, prompts, base.chat, trust_remote_code)
    return PreparedSFT(recipe, base, sets, own)


def _conversation_set(
    recipe: Recipe,
    base: Base,
    name: str,
    conversations: Sequence[Messages],
    bad: Sequence[str],
    skip: bool,
    places: Sequence[str] | None = None,
    weights: Sequence[Segments] | None = None,
) -> ConversationSet:
    """Conversations as they go into fine-tuning.

    Args:
        bad: a sentence for each row that was left out already.
        skip: whether what the template cannot write may be left out, too.
        weights: segments of each last answer that weigh more or less; None for none.

    Raises:
        BadInput: it may not, or more than half are too long.
    """
    longest, broken = recipe.tokens.max_length, dict[int, str]()
    tokens, cut = tokenize_conversations(
        *(conversations, base.tokenizer, base.template),
        longest=longest,
        date=recipe.tokens.date,
        places=places,
        broken=broken,
    )
    kept = usable(list(conversations), broken, name, skip)
    if cut > len(tokens) / 2:
        raise BadInput(
            f"{cut} of {len(tokens)} conversations of set {name!r} are longer than max_length "
            f"({longest} tokens) and would be cut, more than half; raise max_length, or train on "
            "shorter texts."
        )
    check_ids(base.outline, base.tokenizer, tokens, name)
    segments = usable(list(weights or [()] * len(conversations)), broken, name, skip)
    digested: Any = [kept, segments] if any(segments) else kept
    digest = hashlib.sha256(json.dumps(digested, ensure_ascii=False).encode()).hexdigest()
    found = [
        conversation_weights(base.tokenizer, base.chat, talk, some, len(ids)) if some else None
        for talk, some, ids in zip(kept, segments, tokens, strict=True)
    ]
    return ConversationSet(name, tokens, cut, [*bad, *broken.values()], digest, found)


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
