"""Text in an encoding that nobody named. It says what it took, or asks.

UTF-8 (with or without its mark) and UTF-16 (with it) can be recognised. Of the older encodings two
are common in files that people edited in a spreadsheet: Windows-1252 and Mac Roman. Nearly every
byte means something in both, so the one is taken under which the letters beyond ASCII make sense;
where that does not decide it, the user has to.
"""

from __future__ import annotations

import codecs
import re
import unicodedata

from bfpo_bench.common.errors import BadInput

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OLD = ("cp1252", "mac-roman")
_TYPOGRAPHY = frozenset("‘’“”«»–—…•·°©®™€£¡¿\u00a0")
_LETTERS_WITHOUT_ACCENT = frozenset("æøœßÆØŒ")


def decode(data: bytes, name: str, encoding: str | None = None) -> tuple[str, str]:
    """The text of a file, and the encoding it was read in.

    Args:
        name: of the file, for errors.
        encoding: take this one.

    Raises:
        BadInput: the encoding is unknown or does not fit, or none could be found out.
    """
    if encoding is not None:
        try:
            codecs.lookup(encoding)  # decoding nothing would look nothing up
            return data.decode(encoding), encoding
        except LookupError:
            raise BadInput(
                f"unknown encoding {encoding!r}; give one that Python knows, e.g. utf-8, cp1252 or "
                "mac-roman."
            ) from None
        except UnicodeError as error:
            raise BadInput(
                f"{name} is not {encoding} text ({error}); try another --encoding."
            ) from None
    for mark, marked in _MARKS:
        if data.startswith(mark):
            return decode(data, name, marked)
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    scores = {}
    for candidate in _OLD:
        try:
            scores[candidate] = plausibility(data.decode(candidate))
        except UnicodeDecodeError:
            continue
    best = max(scores, key=lambda found: scores[found])
    others = [score for found, score in scores.items() if found != best]
    if scores[best] <= 0 or any(score > 0 for score in others):
        raise BadInput(
            f"{name} is not UTF-8, and whether it is {' or '.join(_OLD)} cannot be told from it; "
            "say which with --encoding."
        )
    return data.decode(best), best


def plausibility(text: str) -> int:
    """Characters beyond ASCII that make sense where they stand, less those that do not.

    Accented letters inside words and capitals before small letters make sense, and so do quotation
    marks, dashes and the like; ``caf√©``, ``cafŽ`` and ``Ódon'tÓ`` do not.
    """
    score = 0
    for match in re.finditer(r"[^\x00-\x7f]", text):
        letter = match[0]
        before, after = text[: match.start()][-1:], text[match.end() :][:1]
        if letter in _TYPOGRAPHY:
            good = True
        elif not (unicodedata.decomposition(letter) or letter in _LETTERS_WITHOUT_ACCENT):
            good = False
        elif letter.islower():
            good = before.isalpha() or after.isalpha()
        else:
            good = letter.isupper() and not before.isalpha() and after.islower()
        score += 1 if good else -1
    return score
