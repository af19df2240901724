"""Texts in the form in which phrases are compared, and phrases as patterns."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable

_APOSTROPHES = dict.fromkeys(map(ord, "’‘ʼ‛´`′"), "'")


class _Kept(dict[int, str | None]):
    """What becomes of each character; worked out when it first occurs."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        unseen = unicodedata.category(character) in ("Cc", "Cf") and not character.isspace()
        self[code] = None if unseen or character in "*_" else character
        return self[code]


_KEPT = _Kept()

_SPELLED = {
    "can't": "cannot",
    "can not": "cannot",
    "won't": "will not",
    "n't": " not",
    "'m": " am",
    "'re": " are",
    "'s": " is",
    "'ve": " have",
    "'ll": " will",
    "'d": " would",
}
# After a noun 's is more often a genitive.
_SHORT = re.compile(
    r"\b(?:can't|can not|won't)\b|n't\b|'(?:m|re|ve|ll|d)\b"
    r"|(?<=\bit)'s\b|(?<=\bthat)'s\b|(?<=\bthere)'s\b|(?<=\bhere)'s\b|(?<=\bwhat)'s\b"
)


def normalise(text: str) -> str:
    """``text`` in the form in which phrases are compared.

    HTML entities, compatibility forms and curly apostrophes become plain characters; emphasis
    marks, invisible characters (zero-width, text direction, NUL) and case go; every run of white
    space becomes one space.
    """
    if "&" in text:
        text = html.unescape(text)
    if not text.isascii():
        # Apostrophes first: NFKC turns an acute accent that serves as one into a space and a mark.
        text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES))
    text = text.translate(_APOSTROPHES)
    return " ".join(text.translate(_KEPT).split()).casefold()


def spelled_out(text: str) -> str:
    """A normalised text without contractions: "i can't" is "i cannot", "it's" is "it is"."""
    if "'" not in text and "can not" not in text:
        return text
    return _SHORT.sub(lambda short: _SPELLED[short[0]], text)


def any_of(phrases: Iterable[str]) -> re.Pattern[str]:
    """A pattern for any of the phrases, in a text that is :func:`spelled_out`.

    In a phrase ``one|other`` stands for either word, ``two-words`` for two words or one with a
    hyphen, and ``^`` for the beginning of the text. A comma may stand between words.
    """
    patterns = []
    for phrase in phrases:
        start = phrase.startswith("^")
        words = [
            "(?:" + "|".join(re.escape(word).replace(r"\-", "[ -]") for word in either) + ")"
            for either in (place.split("|") for place in phrase.lstrip("^").split())
        ]
        patterns.append((r"^\W*" if start else "") + ",? ".join(words))
    return re.compile(rf"(?<!\w)(?:{'|'.join(patterns)})(?!\w)")
