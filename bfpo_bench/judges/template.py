"""Puts untrusted text into a card's template: one pass, nothing that was put in is looked at again.

``str.format`` would trip over any other brace in a template, and filling one placeholder after the
other would let a response that contains ``{behavior}`` pull the behavior into itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

PLACEHOLDERS = ("prompt", "behavior", "context", "response")
_MARK = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")


def placeholders(template: str) -> set[str]:
    """Names of the placeholders that occur in ``template``; every other brace is plain text."""
    return set(_MARK.findall(template))


def fill(template: str, values: Mapping[str, str]) -> str:
    """``template`` with its placeholders replaced; those without a value are left standing."""
    return _MARK.sub(lambda mark: values.get(mark[1], mark[0]), template)


def is_unicode(text: str) -> bool:
    """Whether a text holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def valid_unicode(text: str) -> str:
    """``text`` with lone surrogates replaced by U+FFFD, because tokenizers take valid UTF-8 only.

    A surrogate pair that stands as two characters becomes the one character it means.
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
