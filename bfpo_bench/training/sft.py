"""Supervised fine-tuning, by TRL's SFTTrainer; SteerLM's and RAFT's too.

SteerLM (Dong et al. 2023, arXiv 2310.05344) is fine-tuning on all responses, each told apart by its
attributes in a system message (:mod:`bfpo_bench.training.data.chat`). The model is asked for good
ones afterwards: the chat template that is saved with it writes the wanted attributes itself, so
that it is evaluated and served like any other model.

RAFT is fine-tuning on answers that the start model gives itself, which
:mod:`bfpo_bench.training.on_policy.best` samples and chooses before the model is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

from bfpo_bench.common.progress import Progress
from bfpo_bench.training.conversation_sets import (
    ConversationSet,
    conversation_set,
    unsteered,
    with_shares,
)
from bfpo_bench.training.data.chat import (
    PROMPTS_ONLY,
    Conversations,
    PromptSet,
    load_conversations,
)
from bfpo_bench.training.data.steered import steered_template
from bfpo_bench.training.held_out import check_some, trained_on_too, which_held_out
from bfpo_bench.training.on_policy.best import BestOf, choose_best_of
from bfpo_bench.training.on_policy.prompts import (
    prompt_entry,
    prompt_line,
    read_prompts,
)
from bfpo_bench.training.prepared import (
    Prepared,
    Run,
    open_base,
    tell_left_out,
)
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.saving import embedding_rows, padded


@dataclass(frozen=True)
class PreparedSFT(Prepared):
    """A fine-tuning ready to run.

    Attributes:
        sets: prompts alone are answered by the start model before it is trained.
        own: what does that; None where all answers are given.
        prompts_held_out: how many of the prompts alone, by set: their answers are only looked at.
        answered: what ``training.json`` says of its answers.
        notes: see :class:`Prepared`.
    """

    sets: list[ConversationSet | PromptSet]
    own: BestOf | None = None
    prompts_held_out: Mapping[str, int] = field(default_factory=dict)
    answered: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()

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
        return [*lines, *([str(self.own)] if self.own else []), *self.notes]

    def rated(self, run: Run) -> Self:
        """With answers to prompts that had none."""
        if self.own is None:
            return self
        asked = [one for one in self.sets if isinstance(one, PromptSet)]
        said, answered = self.own.answers(self.base.files, asked, run)
        made = {
            wanted.name: conversation_set(
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
            weights=[
                *(weights for one in sets for weights in one.weights),
                *(weights for one in sets for weights in one.held_out_weights),
            ],
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
        one = some if isinstance(some, PromptSet) else conversation_set(recipe, base, wanted, some)
        if isinstance(one, ConversationSet):
            tell_left_out(one.bad, progress)
        sets.append(one)
    own = None
    if recipe.rewards:
        prompts = [p for one in sets if isinstance(one, PromptSet) for p in one.prompts]
        own = choose_best_of(recipe, prompts, base.chat, trust_remote_code)
    asked = {one.name: list(map(unsteered, one.prompts)) for one in sets}
    apart = {
        one.name: sum(which_held_out(recipe, wanted, asked[one.name], "conversations"))
        for wanted, one in zip(recipe.every_set, sets, strict=True)
        if isinstance(one, PromptSet)
    }
    trained = {prompt for one in recipe.data for prompt in asked[one.name]}
    notes = trained_on_too(recipe, asked, trained, PreparedSFT.unit)
    prepared = PreparedSFT(recipe, base, sets, own, apart, notes=notes)
    given = (len(one.held_out) for one in sets if isinstance(one, ConversationSet))
    check_some(recipe, sum(apart.values()) + sum(given), sum(prepared.sizes), prepared.unit)
    return prepared
