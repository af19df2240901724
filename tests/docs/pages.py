"""The command lines and Python snippets of a page, found by what they look like.

A block is fenced, or indented by four blanks after an empty line. It holds commands if one of its
lines begins as :data:`_STARTS` says; where some begin with ``$``, the others are output.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_ELSEWHERE = ("notebook.md", "CHANGELOG.md", "CONTRIBUTING.md")
PAGES = tuple(
    page
    for page in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
    if page.name not in _ELSEWHERE
)
"""All but those that tell of what has been typed, and the one that test_contributing.py follows."""

PROGRAMS = ("bfpo-bench", "make", "python", "pip", "accelerate", "lm_eval", "lm-eval", "ray")
SHELLS = ("", "sh", "bash", "shell", "console")

_STARTS = (*PROGRAMS, "git clone", "export", "srun", "vllm serve", "hf", "inspect")
_BEGINS = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:srun )?(?:{'|'.join(_STARTS)})(?=\s|$)")
_QUOTED = re.compile(r"`((?:bfpo-bench|make|python -m) [^`]+)`")
_FENCE = re.compile(r" *```(\w*)")


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        line: number in the page of the line before its first.
        language: as the fence says, or python where the text begins with an import; else "".
    """

    page: Path
    line: int
    language: str
    text: str

    def place(self, line: int = 1) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line + line}"

    def commands(self) -> str | None:
        """Its commands as a shell reads them, on their own lines; None: it has none."""
        lines = self.text.split("\n")
        if self.language not in SHELLS or not any(
            _BEGINS.match(line.strip().removeprefix("$ ")) for line in lines
        ):
            return None
        if not any(line.startswith("$ ") for line in lines):
            return self.text
        said, goes_on = [], False
        for line in lines:
            command = line.startswith("$ ") or goes_on
            said.append(line.removeprefix("$ ") if command else "")
            goes_on = command and line.endswith("\\")
        return "\n".join(said)


def blocks(page: Path, text: str | None = None) -> Iterator[Block]:
    """The blocks of a page, or of a text in its place."""
    text = page.read_text(encoding="utf-8") if text is None else text
    found: list[str] = []
    start, language = 0, ""
    inside: str | None = None  # "fence", "indent"
    before = ""
    for number, line in enumerate([*text.split("\n"), ""], 1):
        fence = _FENCE.match(line)
        if inside == "fence" and fence:
            yield Block(page, start, language, textwrap.dedent("\n".join(found)))
            inside = None
        elif inside == "fence" or (
            inside == "indent" and (line.startswith("    ") or not line.strip())
        ):
            found.append(line)
        else:
            if inside == "indent":
                yield _indented(page, start, found)
                inside = None
            if fence:
                inside, start, language, found = "fence", number, fence[1], []
            elif line.startswith("    ") and not before.strip():
                inside, start, found = "indent", number - 1, [line]
        before = line
    if inside == "indent":
        yield _indented(page, start, found)


def _indented(page: Path, start: int, lines: list[str]) -> Block:
    text = textwrap.dedent("\n".join(lines)).rstrip()
    python = re.match(r"(from|import) \w", text)
    return Block(page, start, "python" if python else "", text)


def mentions(page: Path) -> Iterator[tuple[int, str]]:
    """Line and text of the commands of our own that a page's sentences quote."""
    for number, line in enumerate(page.read_text(encoding="utf-8").split("\n"), 1):
        for found in _QUOTED.finditer(line):
            yield number, found[1]
