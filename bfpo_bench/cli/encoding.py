"""Output on terminals that cannot show every character: none of them ends a command."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

_PLAIN = {
    "±": "+/-",
    "→": "->",
    "←": "<-",
    "≥": ">=",
    "≤": "<=",
    "×": "x",
    "·": "-",
    "•": "*",
    "–": "-",
    "—": "-",
    "−": "-",
    "…": "...",
    "‖": "||",
    "≻": ">",
    "α": "alpha",
    "τ": "tau",
    "“": '"',
    "”": '"',
    "„": '"',
    "‘": "'",
    "’": "'",
    "│": "|",
    "─": "-",
    "═": "=",
    "√": "sqrt",
    "✓": "yes",
    "✗": "no",
    "↑": "^",
    "↓": "v",
    "₁": "1",
    "₂": "2",
    "²": "^2",
    "°": " deg",
}
"""What stands for a character that an encoding lacks; for any other one, what it is made of (o for
ö, 9 for ⁹), or a question mark."""


_ASCII = "bfpo_ascii"
"""ASCII by another name: click takes a stream of that one for a mistake and writes UTF-8 to it."""


def _in_plain_words(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(map(_plain, lacking)), error.end


def _plain(character: str) -> str:
    parts = unicodedata.normalize("NFKD", character)
    return _PLAIN.get(character) or parts.encode("ascii", "ignore").decode() or "?"


def _as_ascii(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII:
        return None
    own = codecs.lookup("ascii")
    return codecs.CodecInfo(
        own.encode, own.decode, own.streamreader, own.streamwriter,
        own.incrementalencoder, own.incrementaldecoder, _ASCII,
    )  # fmt: skip


def write_anything() -> None:
    """Has standard output and error write every text, whatever their encoding.

    A terminal may know ASCII only (LC_ALL=POSIX, PYTHONIOENCODING=ascii), and a text may hold half
    a surrogate pair (in the name of a file, say), which no encoding knows.
    """
    codecs.register_error("bfpo-plain", _in_plain_words)
    codecs.register(_as_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(
                encoding=_ASCII if ascii_only else stream.encoding, errors="bfpo-plain"
            )
