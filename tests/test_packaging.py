"""What is published: one version, a citation, a wheel and an sdist that hold what they should."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from packaging.version import Version

import bfpo_bench

ROOT = Path(bfpo_bench.__file__).resolve().parents[1]


def project() -> dict[str, object]:
    """The table ``project`` of pyproject.toml."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert isinstance(found, dict)
    return found


def test_the_version_is_said_once_and_repeated_rightly() -> None:
    version = bfpo_bench.__version__
    assert str(Version(version)) == version  # as an index would write it
    assert "version" not in project()
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == version
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (.+)$", changes, re.MULTILINE)
    assert newest is not None
    assert newest[1] == version + (" (unreleased)" if Version(version).is_prerelease else "")


def test_the_citation_has_what_its_format_asks_for() -> None:
    """Citation File Format 1.2.0; with cffconvert 2.0.0 it was validated once, 2026-11-29."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert cited["message"]
    assert (cited["title"], cited["type"]) == ("bfpo-bench", "software")
    told = project()
    assert cited["license"] == told["license"]
    assert cited["abstract"] == told["description"]
    assert cited["authors"] == told["authors"]
    paper = cited["preferred-citation"]
    assert {"type", "title", "authors"} <= paper.keys()  # what a reference must have
    names = [author["family-names"] for author in paper["authors"]]
    assert names == ["Zhang", "Torr", "Elhoseiny", "Bibi"]
    assert paper["year"] == 2025
    assert paper["url"] in (ROOT / "README.md").read_text(encoding="utf-8")
