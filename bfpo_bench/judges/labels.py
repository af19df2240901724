"""Finds the vocabulary entries that read as a judge's labels.

A label is usually several entries ("yes", "Yes", and both with a leading space). The judge's answer
is the probability of all of them together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

# Marks for a space or line break that stay in the text where a tokenizer has no decoder to undo
# them: sentencepiece's space; byte-level BPE's space, newline and tab.
_SPACE_MARKS = "▁ĠĊĉ"


def label_ids(tokenizer: Any, labels: Sequence[str]) -> list[list[int]]:
    """Ids of every entry that reads as each label, ignoring case and the white space around it.

    All entries are looked at, added and special ones included; 150,000 take well under a second.

    Returns:
        One ascending list per label; empty when no single entry reads as it.
    """
    ids = sorted(set(tokenizer.get_vocab().values()))
    alone = [[i] for i in ids]
    # The Rust decoder does the whole vocabulary in one call; going through Python costs seconds.
    texts = tokenizer.backend_tokenizer.decode_batch(alone, skip_special_tokens=False)
    found: dict[str, list[int]] = {reading(label): [] for label in labels}
    for i, text in zip(ids, texts, strict=True):
        matches = found.get(reading(text))
        if matches is not None:
            matches.append(i)
    return [found[reading(label)] for label in labels]


def first_token(tokenizer: Any, text: str, label: str) -> int | None:
    """Id of the token with which a label begins behind a text; None where the two merge.

    Of a label that is several tokens, this one stands for all of it.
    """
    before, whole = (
        tokenizer(one, add_special_tokens=False)["input_ids"] for one in (text, f"{text} {label}")
    )
    return int(whole[len(before)]) if whole[: len(before)] == before else None


def reading(text: str) -> str:
    """What an entry or label reads as: stripped of surrounding white space and of case."""
    return text.strip().strip(_SPACE_MARKS).strip().casefold()


NAN = float("nan")


def logsumexp(values: Sequence[float]) -> float:
    """log(Σ exp(values)), without under- or overflow."""
    top = max(values)
    if top == -math.inf:
        return top
    return top + math.log(sum(math.exp(value - top) for value in values))
