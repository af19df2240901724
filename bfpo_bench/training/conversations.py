"""Conversations for supervised fine-tuning: from chat data, or the winners of preference data."""

from __future__ import annotations

from bfpo_bench.errors import BadInput
from bfpo_bench.sources.records import Record
from bfpo_bench.training.pairs import make_pairs
from bfpo_bench.training.readers import load_set
from bfpo_bench.training.readers.fields import messages
from bfpo_bench.training.readers.load import draw, read_set
from bfpo_bench.training.recipe import DataRecipe
from bfpo_bench.training.records import Messages
from bfpo_bench.training.steerlm import ATTRIBUTES, steered_conversations

CHAT = "chat"
"""What a recipe writes as ``pairs`` of a set whose rows are conversations, not pairs."""


def load_conversations(wanted: DataRecipe, seed: int) -> tuple[list[Messages], list[str]]:
    """The conversations of a set, each ending in an assistant's turn.

    Args:
        wanted: ``pairs: chat`` reads the field ``messages`` of each row (UltraChat's form);
            ``pairs: attributes`` takes both responses of preference data with their attributes; any
            other value answers each prompt of preference data with the response that wins.
        seed: of the draw that ``limit`` makes.

    Returns:
        the conversations, and a sentence for each row that was left out.

    Raises:
        BadInput: rows that cannot be used, unless they are to be skipped.
    """
    if wanted.pairs != CHAT:
        loaded = load_set(wanted.as_set(seed))
        if wanted.pairs == ATTRIBUTES:
            return steered_conversations(loaded.records, wanted.name), loaded.bad
        return [
            (*pair.prompt, ("assistant", pair.chosen))
            for pair in make_pairs(wanted.pairs, loaded.records)
        ], loaded.bad
    found, bad = read_set(wanted.as_set(seed), _conversation)
    if not found:
        raise BadInput(f"set {wanted.name!r} holds no conversation that can be used.")
    return draw(found, wanted.limit, seed), bad


def _conversation(row: Record) -> Messages:
    said = messages(row, "messages", row.values.get("messages"))
    roles = [role for role, _ in said if role != "system"]
    if not roles or roles[-1] != "assistant" or roles[0] != "user":
        raise BadInput(f"{row.at}: a conversation goes from the user to the assistant's answer.")
    return said
