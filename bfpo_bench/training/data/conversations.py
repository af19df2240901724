"""Conversations for supervised fine-tuning: from chat data, or the winners of preference data."""

from __future__ import annotations

from typing import NamedTuple

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data.files import Record
from bfpo_bench.training.data import load_set
from bfpo_bench.training.data.asked import PROMPTS, TALKS, asked, filled
from bfpo_bench.training.data.columns import check_unread
from bfpo_bench.training.data.fields import check_texts, messages
from bfpo_bench.training.data.load import draw, read_set
from bfpo_bench.training.data.pairs import make_pairs
from bfpo_bench.training.data.preferences import Messages
from bfpo_bench.training.recipe import DataRecipe
from bfpo_bench.training.steerlm import ATTRIBUTES, steered_conversations

CHAT = "chat"
"""What a recipe writes as ``pairs`` of a set whose rows are conversations, not pairs."""


class Conversations(NamedTuple):
    """The conversations of a set.

    Attributes:
        conversations: each ends in an assistant's turn.
        places: where each stands, for messages.
        bad: a sentence for each row that was left out.
    """

    conversations: list[Messages]
    places: list[str]
    bad: list[str]


def load_conversations(wanted: DataRecipe, seed: int) -> Conversations:
    """The conversations of a set.

    Args:
        wanted: ``pairs: chat`` reads conversations (``messages``, UltraChat's form, or
            ``conversations``, ShareGPT's) or a prompt and its answer (TRL's, Alpaca's, Dolly's);
            ``pairs: attributes`` takes both responses of preference data with their attributes; any
            other value answers each prompt of preference data with the response that wins.
        seed: of the draw that ``limit`` makes.

    Raises:
        BadInput: rows that cannot be used, unless they are to be skipped.
    """
    if wanted.pairs == CHAT:
        rows, bad = read_set(wanted.as_set(seed), lambda row: (_conversation(row), row.at))
        if not rows:
            raise BadInput(f"set {wanted.name!r} holds no conversation that can be used.")
        drawn = draw(rows, wanted.limit, seed)
    else:
        loaded = load_set(wanted.as_set(seed))
        bad = loaded.bad
        if wanted.pairs == ATTRIBUTES:
            drawn = steered_conversations(loaded.records, wanted.name)
        else:
            drawn = [
                ((*pair.prompt, ("assistant", pair.chosen)), pair.where)
                for pair in make_pairs(wanted.pairs, loaded.records)
            ]
    return Conversations([said for said, _ in drawn], [where for _, where in drawn], bad)


ANSWERS = ("completion", "output", "response", "answer")
"""Columns of the answer, in the order in which they are looked for: TRL's, Alpaca's, Dolly's, …"""


def _conversation(row: Record) -> Messages:
    """The conversation of a row: whole (``messages``, ``conversations``), or prompt and answer."""
    said = asked(row, (*TALKS, *PROMPTS))
    there = [name for name in ANSWERS if name in row.values]
    if said[-1][0] == "user" and there:
        name = next((name for name in there if filled(row, name)), None)
        if name is None:
            raise BadInput(f"{row.at}: field {there[0]!r} should hold the answer, and is empty.")
        said = (*said, *_answer(row, name))
    roles = [role for role, _ in said if role != "system"]
    if not roles or roles[-1] != "assistant" or roles[0] != "user":
        raise BadInput(f"{row.at}: a conversation goes from the user to the assistant's answer.")
    empty = next((role for role, content in said if not content.strip()), "system")
    if empty != "system":
        raise BadInput(f"{row.at}: the {empty}'s message is empty, so there is nothing to learn.")
    texts = [content for _, content in said]
    check_texts(row, texts)
    check_unread(row, texts, responses=True)
    return said


def _answer(row: Record, name: str) -> Messages:
    found = row.values[name]
    return (("assistant", found),) if isinstance(found, str) else messages(row, name, found)
