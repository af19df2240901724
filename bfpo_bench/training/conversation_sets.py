"""Conversations as fine-tuning takes them: as many as wanted, as token ids, some held out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.data.chat import (
    Conversations,
    PromptSet,
)
from bfpo_bench.training.data.load import draw, usable
from bfpo_bench.training.data.preferences import Messages
from bfpo_bench.training.data.tokenize import conversation_weights, tokenize_conversations
from bfpo_bench.training.held_out import where, which_held_out
from bfpo_bench.training.prepared import (
    Base,
    left_out,
)
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_parts import DataRecipe
from bfpo_bench.training.record import set_entry
from bfpo_bench.training.saving import check_ids


@dataclass(frozen=True)
class ConversationSet:
    """A set as it goes into fine-tuning.

    Attributes:
        tokens: ids of each conversation that is trained on, cut to the recipe's ``max_length``.
        held_out: of those that are only looked at.
        cut: how many were.
        bad: a sentence for each row that was left out.
        digest: of the conversations and what weighs in them, in order.
        weights: of the tokens of each that is trained on; None where all weigh 1.
        held_out_weights: of each that is only looked at.
        prompts: what each answers, of both kinds.
    """

    name: str
    tokens: list[np.ndarray]
    held_out: list[np.ndarray]
    cut: int
    bad: list[str]
    digest: str
    weights: list[list[float] | None]
    held_out_weights: list[list[float] | None]
    prompts: list[Messages]

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


def conversation_set(
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
    prompts = [unsteered(talk[:-1]) for talk in kept]
    held = which_held_out(recipe, wanted, prompts, "conversations")
    return ConversationSet(
        wanted.name,
        where(held, False, tokens),
        where(held, True, tokens),
        cut,
        [*said.bad, *broken.values()],
        digest,
        where(held, False, found),
        where(held, True, found),
        prompts,
    )


def unsteered(prompt: Messages) -> Messages:
    """A prompt without its system message, in which SteerLM tells the responses to it apart."""
    return tuple(turn for turn in prompt if turn[0] != "system")
