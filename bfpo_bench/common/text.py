"""Texts from outside, as everybody can read them and as a terminal may show them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any


def valid_text(value: Any) -> Any:
    r"""A JSON value whose texts can all be written as UTF-8.

    JSON may hold half of a surrogate pair (``"\ud800"``), which is no character. Strict readers,
    pyarrow's among them, refuse a whole file because of one, so it becomes its own escape: the six
    characters ``\ud800``.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [valid_text(part) for part in value]
    if isinstance(value, dict):
        return {valid_text(name): valid_text(part) for name, part in value.items()}
    return value


def visible(text: str) -> str:
    r"""A foreign text of any number of lines that can do nothing to a terminal.

    What steers one (escapes, carriage returns), turns the writing direction or is no character
    becomes its escape, such as ``\x1b``. Line feeds, tabs and the two joiners that scripts and
    emoji are written with stay.
    """
    return text.translate(_VISIBLE)


def plain_json(text: str) -> str:
    r"""JSON with all that :func:`visible` would not show as it is written as ``\u001b``."""
    return text.translate(_PLAIN)


LONGEST = 2_000
"""Characters that a sentence of a command may have: what is foreign in it may have any number."""


def sentence(text: str, lines: bool = False) -> str:
    """The same for one sentence to a person, which begins and ends as it does and is `LONGEST`.

    Args:
        lines: it may have several; else a name with a line feed could look like another sentence.
    """
    if not lines:
        text = text.replace("\n", "\\n")
    if len(text) <= LONGEST and len(whole := visible(text)) <= LONGEST:
        return whole
    half = (LONGEST - len(_CUT)) // 2
    return visible(text[:half])[:half] + _CUT + visible(text[-half:])[-half:]


def one_line(text: str, longest: int | None = None) -> str:
    """The text on one line, without characters that are invisible or steer a terminal.

    Args:
        longest: cut to so many characters.
    """
    shown = "".join("�" if unicodedata.category(c) in _HIDDEN else c for c in _spaced(text))
    shown = " ".join(shown.split())
    return shown if longest is None or len(shown) <= longest else shown[: longest - 1] + "…"


def markdown_text(text: str) -> str:
    """One line without meaning to Markdown, HTML, GitHub's autolinks, mentions or formulas."""
    escaped = re.sub(r"[\\`*_\[\]<>|#~$!&{}]", r"\\\g<0>", one_line(text))
    # GitHub looks for addresses and mentions in the text that is left when escapes are undone.
    return re.sub(r"(?i)(:)(?=//)|(\bwww)(?=\.)|(@)", r"\g<0><!-- -->", escaped)


def _spaced(text: str) -> str:
    return "".join(" " if c in "\t\n\r\v\f\x85\u2028\u2029" else c for c in text)


_CUT = " [… cut …] "
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class _Visible(dict[int, str]):
    """By code point, what is shown for it; filled with those that were met."""

    def __init__(self, escape: Callable[[str], str]) -> None:
        super().__init__()
        self._escape = escape

    def __missing__(self, code: int) -> str:
        character = chr(code)
        steers = unicodedata.category(character) in _HIDDEN
        shown = steers and character not in "\n\t\u200c\u200d"
        self[code] = self._escape(character) if shown else character
        return self[code]


_VISIBLE = _Visible(lambda character: character.encode("unicode_escape").decode())
_PLAIN = _Visible(lambda character: json.dumps(character)[1:-1])
