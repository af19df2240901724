"""Untrusted text in the page: characters that nobody sees, or that turn others, by their codes.

What a model wrote is shown by text.js, which does the same; names are short and cleaned here, so
that they can stand in menus and titles, which hold nothing but plain text.
"""

from __future__ import annotations

import re

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Characters that show nothing or turn the direction of others; text.js has the same list."""


def visible(value: object) -> str:
    """A value as text, unseen characters by their codes."""
    return UNSEEN.sub(lambda match: f"U+{ord(match[0]):04X}", str(value))


def named(value: str) -> str:
    """The same of a name, which stands in menus and titles: on one line and not without end."""
    shown = " ".join(visible(value[: 2 * _LONGEST]).split())
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


_LONGEST = 80
