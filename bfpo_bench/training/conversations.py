"""Conversations for supervised fine-tuning: from chat data, or the winners of preference data."""

from __future__ import annotations

import random
from pathlib import Path

from bfpo_bench.errors import BadInput
from bfpo_bench.sources.records import Record
from bfpo_bench.training.pairs import make_pairs
from bfpo_bench.training.readers import PINNED, load_set
from bfpo_bench.training.readers.fields import messages
from bfpo_bench.training.readers.load import refuse_rows
from bfpo_bench.training.readers.rows import file_rows, hub_rows
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
    if bool(wanted.files) == bool(wanted.hub):
        raise BadInput(
            f"set {wanted.name!r} needs either files or a data set on the hub, not both."
        )
    found: list[Messages] = []
    bad: list[str] = []
    if wanted.hub is not None:
        revision, split = PINNED.get(wanted.hub, (None, "train"))
        parts = [hub_rows(wanted.hub, wanted.split or split, wanted.revision or revision)]
    else:
        parts = [file_rows(Path(file)) for file in wanted.files]
    for rows in parts:
        for row in rows:
            try:
                found.append(_conversation(row))
            except BadInput as error:
                bad.append(str(error))
    if bad and not wanted.skip_bad_rows:
        raise refuse_rows(wanted.name, bad, len(found) + len(bad))
    if not found:
        raise BadInput(f"set {wanted.name!r} holds no conversation that can be used.")
    if wanted.limit is not None and wanted.limit < len(found):
        # Python promises the same random() for ever, but not the same sample().
        rng = random.Random(seed)
        keys = [rng.random() for _ in found]
        chosen = sorted(range(len(found)), key=keys.__getitem__)[: wanted.limit]
        found = [found[index] for index in sorted(chosen)]
    return found, bad


def _conversation(row: Record | BadInput) -> Messages:
    if isinstance(row, BadInput):
        raise row
    said = messages(row, "messages", row.values.get("messages"))
    roles = [role for role, _ in said if role != "system"]
    if not roles or roles[-1] != "assistant" or roles[0] != "user":
        raise BadInput(f"{row.at}: a conversation goes from the user to the assistant's answer.")
    return said
