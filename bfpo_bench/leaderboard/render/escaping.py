"""Untrusted text (model names above all) made harmless for the format that it goes into."""

from __future__ import annotations

import unicodedata

from bfpo_bench.common.text import one_line

_LONGEST = 80
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
"""With these a spreadsheet begins a formula; the last four are full-width."""

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "-": r"{-}", "–": "--", "−": "$-$", "±": r"$\pm$", "…": r"\ldots{}", "’": "'", "·": r"$\cdot$",
}  # fmt: skip


def name_text(text: str) -> str:
    """A row's name as a table shows it."""
    return one_line(text, _LONGEST) or "(no name)"


def latex_text(text: str) -> str:
    """One line of LaTeX in plain ASCII, so that any engine sets it; unknown letters become "?"."""
    return "".join(_latex(c) for c in one_line(text))


def csv_text(text: str) -> str:
    """One line that no spreadsheet takes for a formula."""
    line = one_line(text)
    return f"'{line}" if line[:1] in _FORMULA else line


def _latex(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character.isascii():
        return character
    base = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(_LATEX.get(c, c) for c in base) or "?"
