"""Files and modules that pages, docstrings, comments and YAMLs name are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
KINDS = (".py", ".md", ".yaml", ".toml")
PLACES = [ROOT / name for name in ("bfpo_bench", "docs", "tests", "benchmarks")]
FILES = [path for place in PLACES for path in place.rglob("*") if path.suffix in KINDS]
# What has been stands in the notebook; tests make files up.
PAGES = [p for p in FILES if p.name != "notebook.md" and PLACES[2] not in p.parents]

NOT_OURS = ("lm_eval/", "wildguard/", "runs/", "bfpo_bench.demo")
"""Other projects' files, what a reader's commands make, and a name that version 0.1 has written
into folders."""

PATH = re.compile(r"(?<![\w/.~-])((?:[a-z_][\w-]*/)+[\w-]+\.(?:py|md))\b")
DOTTED = re.compile(r"(?<![\w./-])(bfpo_bench(?:\.\w+)+)")
BESIDE = re.compile(r":\w+:`~?\.(\w+)")


def missing(text: str, page: Path) -> Iterator[str]:
    """What a text names that is not there: a path may leave out folders at its beginning."""
    for found in PATH.finditer(text):
        if not any(path.as_posix().endswith(f"/{found[0]}") for path in FILES):
            yield found[0]
    for found in DOTTED.finditer(text):
        place, names = ROOT, found[0].split(".")
        while names and (place / names[0]).is_dir():
            place /= names.pop(0)
        module = place / f"{names[0]}.py" if names else place
        module, names = (module, names[1:]) if module.is_file() else (place / "__init__.py", names)
        content = module.read_text(encoding="utf-8") if names else ""
        if names and not re.search(rf"\b{names[0]}\b", content):
            yield found[0]
    yield from (f".{m[1]}" for m in BESIDE.finditer(text) if not page.with_stem(m[1]).is_file())


def test_what_is_named_is_there() -> None:
    text = "`engines/guard.py`, `engines/open.py`, bfpo_bench.run.no, :mod:`.nowhere`"
    assert list(missing(text, ROOT)) == ["engines/guard.py", "bfpo_bench.run.no", ".nowhere"]
    gone = [
        f"{page.relative_to(ROOT)}: {name}"
        for page in (*PAGES, ROOT / "README.md", ROOT / "SECURITY.md")
        for name in missing(page.read_text(encoding="utf-8"), page)
        if not name.startswith(NOT_OURS)
    ]
    assert not gone
