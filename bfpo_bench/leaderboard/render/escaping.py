"""Untrusted text (model names above all) made harmless for the format that it goes into."""

from __future__ import annotations

import re
import unicodedata

_LONGEST = 80
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
"""With these a spreadsheet begins a formula; the last four are full-width."""

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "-": r"{-}", "–": "--", "−": "$-$", "±": r"$\pm$", "…": r"\ldots{}", "’": "'", "·": r"$\cdot$",
}  # fmt: skip


def one_line(text: str, longest: int | None = None) -> str:
    """The text on one line, without characters that are invisible or steer a terminal.

    Args:
        longest: cut to so many characters.
    """
    shown = "".join("�" if unicodedata.category(c) in _HIDDEN else c for c in _spaced(text))
    shown = " ".join(shown.split())
    return shown if longest is None or len(shown) <= longest else shown[: longest - 1] + "…"


def name_text(text: str) -> str:
    """A row's name as a table shows it."""
    return one_line(text, _LONGEST) or "(no name)"


def markdown_text(text: str) -> str:
    """One line without meaning to Markdown, HTML, GitHub's autolinks, mentions or formulas."""
    escaped = re.sub(r"[\\`*_\[\]<>|#~$!&{}]", r"\\\g<0>", one_line(text))
    # GitHub looks for addresses and mentions in the text that is left when escapes are undone.
    return re.sub(r"(?i)(:)(?=//)|(\bwww)(?=\.)|(@)", r"\g<0><!-- -->", escaped)


def latex_text(text: str) -> str:
    """One line of LaTeX in plain ASCII, so that any engine sets it; unknown letters become "?"."""
    return "".join(_latex(c) for c in one_line(text))


def csv_text(text: str) -> str:
    """One line that no spreadsheet takes for a formula."""
    line = one_line(text)
    return f"'{line}" if line[:1] in _FORMULA else line


def _spaced(text: str) -> str:
    return "".join(" " if c in "\t\n\r\v\f\x85\u2028\u2029" else c for c in text)


def _latex(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character.isascii():
        return character
    base = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(_LATEX.get(c, c) for c in base) or "?"
