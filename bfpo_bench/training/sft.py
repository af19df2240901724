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
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.training.data.chat import (
    PROMPTS_ONLY,
    Conversations,
    PromptSet,
    load_conversations,
)
from bfpo_bench.training.data.load import draw, usable
from bfpo_bench.training.data.preferences import Messages
from bfpo_bench.training.data.steered import steered_template
from bfpo_bench.training.data.tokenize import conversation_weights, tokenize_conversations
from bfpo_bench.training.held_out import check_some, where, which_held_out
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
from bfpo_bench.training.recipe_parts import DataRecipe
from bfpo_bench.training.record import set_entry
from bfpo_bench.training.saving import check_ids, embedding_rows, padded


@dataclass(frozen=True)
class ConversationSet:
    """A set as it goes into fine-tuning.

    Attributes:
        tokens: ids of each conversation that is trained on, cut to the recipe's ``max_length``.
        held_out: of those that are only looked at.
        cut: how many were.
        bad: a sentence for each row that was left out.
        digest: of the conversations and what weighs in them, in order.
        weights: of each one's tokens; None where all weigh 1.
    """

    name: str
    tokens: list[np.ndarray]
    held_out: list[np.ndarray]
    cut: int
    bad: list[str]
    digest: str
    weights: list[list[float] | None]

    def entry(self) -> dict[str, Any]:
        """What ``training.json`` says of it."""
        return set_entry(
            self.name,
            len(self.tokens),
            len(self.tokens) + len(self.held_out) + len(self.bad),
            self.bad,
            sum(map(len, self.tokens)),
            self.digest,
            cut=self.cut,
            **({"held_out": len(self.held_out)} if self.held_out else {}),
        )

    def __str__(self) -> str:
        counts = f"{len(self.tokens):,} conversations, {sum(map(len, self.tokens)):,} tokens"
        held = f"; {len(self.held_out)} more are held out" if self.held_out else ""
        return f"{self.name}: {counts}; cut: {self.cut:,} at the end{left_out(self.bad)}{held}"


@dataclass(frozen=True)
class PreparedSFT(Prepared):
    """A fine-tuning ready to run.

    Attributes:
        sets: prompts alone are answered by the start model before it is trained.
        own: what does that; None where all answers are given.
        prompts_held_out: how many of the prompts alone, by set: their answers are only looked at.
        answered: what ``training.json`` says of its answers.
    """

    sets: list[ConversationSet | PromptSet]
    own: BestOf | None = None
    prompts_held_out: Mapping[str, int] = field(default_factory=dict)
    answered: Mapping[str, Any] | None = None

    unit = "conversations"
    memory_advice = (
        "lower optimization.per_device_train_batch_size or tokens.max_length, set "
        "gradient_checkpointing: true, or train fewer layers"
    )

    @property
    def sizes(self) -> list[int]:
        """See :class:`Prepared`."""
        return [
            len(one.prompts) - self.prompts_held_out[one.name]
            if isinstance(one, PromptSet)
            else len(one.tokens)
            for one in self.sets[: len(self.recipe.data)]
        ]

    def reward_identities(self) -> dict[str, Any]:
        """See :class:`Prepared`."""
        return {} if self.own is None else self.own.ratings.identity()

    def entries(self) -> list[dict[str, Any]]:
        """See :class:`Prepared`."""
        held = self.prompts_held_out
        return [
            prompt_entry(one, held[one.name]) if isinstance(one, PromptSet) else one.entry()
            for one in self.sets
        ]

    def describe(self) -> list[str]:
        """See :class:`Prepared`."""
        held = self.prompts_held_out
        lines = [
            prompt_line(one, held[one.name]) if isinstance(one, PromptSet) else str(one)
            for one in self.sets
        ]
        return [*lines, *([str(self.own)] if self.own else [])]

    def rated(self, run: Run) -> Self:
        """With answers to prompts that had none."""
        if self.own is None:
            return self
        asked = [one for one in self.sets if isinstance(one, PromptSet)]
        said, answered = self.own.answers(self.base.files, asked, run)
        made = {
            wanted.name: _conversation_set(
                *(self.recipe, self.base, replace(wanted, skip_bad_rows=True)),
                Conversations(talks, [""] * len(talks), [], [()] * len(talks)),
            )
            for wanted, talks in zip(
                [one for one in self.recipe.data if one.pairs == PROMPTS_ONLY], said, strict=True
            )
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
        trained = len(ids)
        ids += [ids for one in sets for ids in one.held_out]
        held_out = self.held_out(range(trained, len(ids)), run.state)
        yield ConversationTrainer(
            model=model,
            args=config,
            train_dataset=datasets.Dataset.from_dict({"input_ids": ids}),
            processing_class=padded(self.base.tokenizer, embedding_rows(model)),
            callbacks=[*callbacks, *([held_out] if held_out else [])],
            batches=list(schedule),
            weights=[weights for one in sets for weights in one.weights],
            held_out=held_out,
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
    read: list[Conversations | PromptSet] = []
    for wanted in recipe.every_set:
        if wanted.pairs == PROMPTS_ONLY:
            read.append(read_prompts(recipe, wanted, base, progress))
            continue
        with progress.stage(f"read {wanted.name}", 1, unit=""):
            read.append(load_conversations(wanted, recipe.seed))
    read = with_shares(recipe, read)
    sets: list[ConversationSet | PromptSet] = []
    for wanted, some in zip(recipe.every_set, read, strict=True):
        one = some if isinstance(some, PromptSet) else _conversation_set(recipe, base, wanted, some)
        if isinstance(one, ConversationSet):
            tell_left_out(one.bad, progress)
        sets.append(one)
    own = None
    if recipe.rewards:
        prompts = [p for one in sets if isinstance(one, PromptSet) for p in one.prompts]
        own = choose_best_of(recipe, prompts, base.chat, trust_remote_code)
    apart = {
        one.name: sum(_held_out(recipe, wanted, one.prompts))
        for wanted, one in zip(recipe.every_set, sets, strict=True)
        if isinstance(one, PromptSet)
    }
    prepared = PreparedSFT(recipe, base, sets, own, apart)
    given = (len(one.held_out) for one in sets if isinstance(one, ConversationSet))
    check_some(recipe, sum(apart.values()) + sum(given), sum(prepared.sizes), prepared.unit)
    return prepared


def with_shares(
    recipe: Recipe, read: Sequence[Conversations | PromptSet]
) -> list[Conversations | PromptSet]:
    """What was read, with as much of each set that has a ``share`` as makes it that share of all.

    Raises:
        BadInput: a set has not that much.
    """
    own = [one.share for one in recipe.data]
    rest = sum(
        len(some[0] if isinstance(some, Conversations) else some.prompts)
        for some, share in zip(read, own, strict=False)
        if share is None
    )
    found = list(read)
    for index, (wanted, some) in enumerate(zip(recipe.data, read, strict=False)):
        if wanted.share is None or isinstance(some, PromptSet):
            continue
        count = round(wanted.share * rest / (1 - sum(share or 0.0 for share in own)))
        there = len(some.conversations)
        if not 0 < count <= there:
            raise BadInput(
                f"set {wanted.name!r} is to make up {wanted.share:g} of all conversations, which "
                f"is {count:,} beside the {rest:,} of the others, and it has {there:,}; change its "
                "'share', or give the others a 'limit'."
            )
        kept = draw(list(range(there)), count, recipe.seed)
        found[index] = some._replace(
            conversations=[some.conversations[at] for at in kept],
            places=[some.places[at] for at in kept],
            weights=[some.weights[at] for at in kept],
        )
    return found


def _conversation_set(
    recipe: Recipe, base: Base, wanted: DataRecipe, said: Conversations
) -> ConversationSet:
    """Conversations as they go into fine-tuning.

    Raises:
        BadInput: the template cannot write one, and it may not be left out; more than half are too
            long; or all are held out.
    """
    longest, broken = recipe.tokens.max_length, dict[int, str]()
    tokens, cut = tokenize_conversations(
        *(said.conversations, base.tokenizer, base.template),
        longest=longest,
        date=recipe.tokens.date,
        places=said.places,
        broken=broken,
    )
    kept = usable(said.conversations, broken, wanted.name, wanted.skip_bad_rows)
    if cut > len(tokens) / 2:
        raise BadInput(
            f"{cut} of {len(tokens)} conversations of set {wanted.name!r} are longer than "
            f"max_length ({longest} tokens) and would be cut, more than half; raise max_length, or "
            "train on shorter texts."
        )
    check_ids(base.outline, base.tokenizer, tokens, wanted.name)
    segments = usable(said.weights, broken, wanted.name, wanted.skip_bad_rows)
    digested: Any = [kept, segments] if any(segments) else kept
    digest = hashlib.sha256(json.dumps(digested, ensure_ascii=False).encode()).hexdigest()
    found = [
        conversation_weights(base.tokenizer, base.chat, talk, some, len(ids)) if some else None
        for talk, some, ids in zip(kept, segments, tokens, strict=True)
    ]
    held = _held_out(recipe, wanted, [talk[:-1] for talk in kept])
    return ConversationSet(
        wanted.name,
        where(held, False, tokens),
        where(held, True, tokens),
        cut,
        [*said.bad, *broken.values()],
        digest,
        where(held, False, found),
    )


def _held_out(recipe: Recipe, wanted: DataRecipe, prompts: Sequence[Messages]) -> list[bool]:
    """Which conversations of a set are only looked at, by their prompts.

    Raises:
        BadInput: nothing is left to train on.
    """
    # SteerLM tells the responses to a prompt apart in the system message.
    asked = [tuple(turn for turn in prompt if turn[0] != "system") for prompt in prompts]
    return which_held_out(recipe, wanted, asked, "conversations")
