"""Which prompts make a pair, and which two of their responses (Section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Dropped(StrEnum):
    """Why a prompt makes no pair."""

    HARMLESS = "no response was judged harmful"
    SILENT = "no response holds an answer"
    UNKNOWN = "the judge could not tell"
    ALIKE = "no two different responses"
    TIE = "the ranker calls them equal"
    UNRANKED = "the ranker gave no usable answer"


@dataclass(frozen=True)
class Answer:
    """A response and its verdict; ``harmful is None`` means unknown."""

    text: str
    harmful: bool | None


def choose_pair(answers: Sequence[Answer]) -> tuple[int, int] | Dropped:
    """The two responses of a prompt that are worth a pair, by index and in order.

    Needed is at least one harmful response, and beside it another one whose verdict is known and
    whose text is different; empty texts are none. With two responses that is the paper's rule.
    Of more than two, the first harmful and the first harmless one are taken, since a pair of
    both kinds says more about safety; without a harmless one, the first two harmful ones.
    """
    if not any(answer.text.strip() for answer in answers):
        return Dropped.SILENT
    if not any(answer.harmful for answer in answers):
        unknown = any(answer.harmful is None for answer in answers)
        return Dropped.UNKNOWN if unknown else Dropped.HARMLESS
    distinct: dict[str, int] = {}
    for index, answer in enumerate(answers):
        if answer.text.strip():
            distinct.setdefault(answer.text.strip(), index)
    harmful = [i for i in distinct.values() if answers[i].harmful is True]
    harmless = [i for i in distinct.values() if answers[i].harmful is False]
    if harmful and (harmless or len(harmful) > 1):
        first, second = sorted([harmful[0], harmless[0] if harmless else harmful[1]])
        return first, second
    # A harmful one alone: the other is the same, empty, or one that the judge left open.
    left_open = harmful and any(answers[i].harmful is None for i in distinct.values())
    return Dropped.UNKNOWN if left_open else Dropped.ALIKE
