"""Conversations for supervised fine-tuning: from chat data, or the winners of preference data."""

from __future__ import annotations

from bfpo_bench.errors import BadInput
from bfpo_bench.sources.records import Record
from bfpo_bench.training.pairs import make_pairs
from bfpo_bench.training.readers import load_set
from bfpo_bench.training.readers.asked import PROMPTS, TALKS, asked, filled
from bfpo_bench.training.readers.columns import check_unread
from bfpo_bench.training.readers.fields import check_texts, messages
from bfpo_bench.training.readers.load import draw, read_set
from bfpo_bench.training.recipe import DataRecipe
from bfpo_bench.training.records import Messages
from bfpo_bench.training.steerlm import ATTRIBUTES, steered_conversations

CHAT = "chat"
"""What a recipe writes as ``pairs`` of a set whose rows are conversations, not pairs."""


def load_conversations(wanted: DataRecipe, seed: int) -> tuple[list[Messages], list[str]]:
    """The conversations of a set, each ending in an assistant's turn.

    Args:
        wanted: ``pairs: chat`` reads conversations (``messages``, UltraChat's form, or
            ``conversations``, ShareGPT's) or a prompt and its answer (TRL's, Alpaca's, Dolly's);
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
