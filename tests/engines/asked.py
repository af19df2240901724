"""What tests ask of an engine, and what it answers."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

WORDS = ["bike", "mine", "yours", "borrow", "open", "paint", "move", "care", "today", "it", "the"]

TWO_BYTES = ["über" if word == "today" else word for word in WORDS]
"""The same with a letter of two bytes, which tokens may cut."""


def sentence(rng: random.Random, low: int, high: int, words: Sequence[str] = WORDS) -> str:
    """So many words of a toy model's."""
    return " ".join(rng.choice(words) for _ in range(rng.randint(low, high)))


def answers(batches: Iterable[list[tuple[int, Any]]]) -> dict[int, Any]:
    """Answers by the numbers of their requests, each of them given once."""
    found = [pair for batch in batches for pair in batch]
    assert len(found) == len(dict(found)), "an index came twice"
    return dict(found)
