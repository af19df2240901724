"""Finds the vocabulary entries that read as a judge's labels, and the one on an answer's last line.

A label is usually several entries ("yes", "Yes", and both with a leading space). The judge's answer
is the probability of all of them together.

Where the label does not come first, the answer is a few lines, each closed by one of the two
labels. WildGuard says whether the request is harmful, then whether it was refused, and only then
whether the response is harmful. What it says on the first lines is not known beforehand, so the
last one is asked for under every way of writing them, weighted by how likely that way is. Nothing
is generated, and the result is exact: the probability of each label on the last line, whatever
stands before it.
"""

from __future__ import annotations

import itertools
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


def reading(text: str) -> str:
    """What an entry or label reads as: stripped of surrounding white space and of case."""
    return text.strip().strip(_SPACE_MARKS).strip().casefold()


MAX_LINES = 4
"""A card with n lines asks 2^n - 1 questions about each response."""

NAN = float("nan")


def openings(lines: Sequence[str], labels: tuple[str, str]) -> list[str]:
    """What the answer says before each label that is asked for, shortest first.

    Args:
        lines: what stands before the label on each line; empty when the label comes at once.
        labels: the harmful label and the safe one, as they are written on the lines before.

    Returns:
        One text without lines, else 2^n - 1: ``"a:"``, ``"a: yes\\nb:"``, ``"a: no\\nb:"``, …
    """
    if not lines:
        return [""]
    texts = []
    for depth in range(len(lines)):
        for said in itertools.product(labels, repeat=depth):
            done = "".join(f"{a} {b}\n" for a, b in zip(lines[:depth], said, strict=True))
            texts.append(done + lines[depth])
    return texts


def last_line(rows: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[float, float]:
    """Natural-log probabilities of the two labels on the last line, summed over the lines before.

    Args:
        rows: after each of the ``openings``, in their order: the log-probabilities of the entries
            that read as the harmful label, and of those that read as the safe one.

    Returns:
        NaN twice when some value is no log-probability.
    """
    # Written so that NaN fails too. Rounding may lift the logarithm of a certainty above 0.
    if not all(value <= 0.1 for row in rows for label in row for value in label):
        return NAN, NAN
    answers = [(logsumexp(harmful), logsumexp(safe)) for harmful, safe in rows]
    ways = [0.0]  # log-probability of each way of writing the lines so far
    while len(answers) > len(ways):
        here, answers = answers[: len(ways)], answers[len(ways) :]
        ways = [way + said for way, pair in zip(ways, here, strict=True) for said in pair]
    totals = [
        logsumexp([way + pair[label] for way, pair in zip(ways, answers, strict=True)])
        for label in (0, 1)
    ]
    return totals[0], totals[1]


def logsumexp(values: Sequence[float]) -> float:
    """log(Σ exp(values)), without under- or overflow."""
    top = max(values)
    if top == -math.inf:
        return top
    return top + math.log(sum(math.exp(value - top) for value in values))
