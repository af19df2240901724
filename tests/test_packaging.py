"""What is published: one version, a citation, a wheel and an sdist that hold what they should."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from packaging.metadata import Metadata
from packaging.version import Version

import bfpo_bench

ROOT = Path(bfpo_bench.__file__).resolve().parents[1]
MIB = 2**20


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


@dataclass(frozen=True)
class Built:
    """What ``python -m build`` made; ``of_tree`` is the wheel that is made without the sdist."""

    wheel: Path
    sdist: Path
    of_tree: Path

    @property
    def stem(self) -> str:
        return f"bfpo_bench-{bfpo_bench.__version__}"

    def metadata(self) -> Metadata:
        """Read as an index reads it, which refuses what is not valid."""
        with zipfile.ZipFile(self.wheel) as wheel:
            return Metadata.from_email(wheel.read(f"{self.stem}.dist-info/METADATA"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Sdist and wheel, made as a release is, but without asking an index for hatchling."""
    for name in ("build", "hatchling"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install -e '.[dev]'")
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT], folder)
    code = "import hatchling.build as b; b.build_wheel(sys.argv[1])"
    (folder / "tree").mkdir()
    run([sys.executable, "-c", f"import sys; {code}", folder / "tree"], ROOT)
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist, folder / "tree" / wheel.name)


def run(
    words: Sequence[str | Path], folder: Path, environment: dict[str, str] | None = None
) -> str:
    """What a program says that must succeed."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def kept() -> set[str]:
    """The files of the repository that git knows or would take; links are none."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    said = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT)
    paths = [ROOT / name for name in said.split("\0") if name]
    files = [path for path in paths if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(ROOT)) for path in files}


def test_the_wheel_holds_the_package_and_nothing_else(built: Built, kept: set[str]) -> None:
    about = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    with zipfile.ZipFile(built.wheel) as wheel:
        found = {info.filename: info.file_size for info in wheel.infolist()}
        licence = wheel.read(f"{built.stem}.dist-info/licenses/LICENSE")
    package = {name for name in kept if name.startswith("bfpo_bench/")}
    assert found.keys() == package | {f"{built.stem}.dist-info/{name}" for name in about}
    assert licence == (ROOT / "LICENSE").read_bytes()
    # Of each kind of data the package needs some, whatever git says.
    for pattern in (
        *("py.typed", "tasks/*.yaml", "tasks/_prompts", "suites/mini.yaml", "data/mini/*.jsonl"),
        *("judges/cards/*.yaml", "training/recipes/*/*.yaml", "training/accelerate/*.yaml"),
        *("leaderboard/published/*.csv", "leaderboard/report/*.jinja", "leaderboard/report/*.js"),
    ):
        assert any(Path(name).match(f"bfpo_bench/{pattern}") for name in found), pattern
    assert max(found.values()) < MIB


def test_the_sdist_holds_the_repository(built: Built, kept: set[str]) -> None:
    """All but the doors for readers, which are links, and what runs here alone."""
    with tarfile.open(built.sdist) as sdist:
        members = sdist.getmembers()
    assert {member.type for member in members} == {tarfile.REGTYPE}
    found = {member.name.removeprefix(f"{built.stem}/"): member.size for member in members}
    expected = {name for name in kept if not name.startswith(".")}
    assert found.keys() == expected | {"PKG-INFO", ".gitignore"}
    assert max(found.values()) < MIB


def test_the_sdist_makes_the_wheel_of_the_tree(built: Built) -> None:
    assert built.wheel.read_bytes() == built.of_tree.read_bytes()


def test_an_index_can_read_the_metadata(built: Built) -> None:
    from trove_classifiers import classifiers

    told, project_ = built.metadata(), project()
    assert (told.name, str(told.version)) == ("bfpo-bench", bfpo_bench.__version__)
    assert told.license_expression == "Apache-2.0"
    assert told.license_files == ["LICENSE"]
    assert str(told.requires_python) == ">=3.11"
    assert told.classifiers is not None
    assert set(told.classifiers) <= classifiers
    # What it needs: each with a range, none by an address, which an index refuses.
    extras = project_["optional-dependencies"]
    assert isinstance(extras, dict)
    assert set(told.provides_extra or ()) == extras.keys()
    assert told.requires_dist is not None
    assert all(one.url is None for one in told.requires_dist)
    needed = [one for one in told.requires_dist if one.marker is None]
    assert len(needed) == len(project_["dependencies"])  # type: ignore[arg-type]
    assert all(one.specifier for one in needed)


def test_the_front_page_of_an_index_shows_the_readme(built: Built) -> None:
    from markdown_it import MarkdownIt

    told = built.metadata()
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert told.description_content_type == "text/markdown"
    assert told.description == text
    page = MarkdownIt("commonmark").enable("table").render(text)
    assert page.count("<h1>") == 1
    assert "<table>" in page
    assert "```" not in page


def test_every_extra_that_is_named_is_there() -> None:
    """In documents, in sentences of the program, and in other extras."""
    extras = project()["optional-dependencies"]
    assert isinstance(extras, dict)
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "Makefile"]
    named: dict[str, str] = {}
    for path in (*pages, *(ROOT / "bfpo_bench").rglob("*.py")):
        for found in re.findall(r"(?:\.|bfpo-bench)\[([a-z][\w, -]*)\]", path.read_text("utf-8")):
            named |= {extra.strip(): path.name for extra in found.split(",")}
    assert {"vllm", "dev", "demo", "ray"} <= named.keys()
    assert {name: place for name, place in named.items() if name not in extras} == {}


@pytest.mark.slow
def test_the_installed_wheel_evaluates(built: Built, tiny_llama: Path, tmp_path: Path) -> None:
    """In an environment of its own, where the packages that it needs are those of this one.

    A line of a .pth file is a folder to look in, last, and the .pth files of that folder are not
    read: so an editable install of the package there is not found.
    """
    home, empty = tmp_path / "env", tmp_path / "empty"
    run([sys.executable, "-m", "venv", "--without-pip", home], tmp_path)
    python, ours = home / "bin" / "python", home / "bin" / "bfpo-bench"
    quiet = {"PYTHONPATH": "", "XDG_CACHE_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    run([*pip, "-q", built.wheel], tmp_path)
    site = run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], home, quiet
    )
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site.strip()) / "borrowed.pth").write_text("\n".join(sorted(borrowed)), "utf-8")
    empty.mkdir()
    assert run([ours, "--version"], empty, quiet) == f"bfpo-bench {bfpo_bench.__version__}\n"
    options = "--suite mini --judge keyword --judge-anyway --device cpu --backend hf --limit 4"
    code = f"""
import sys, bfpo_bench
from bfpo_bench.cli import main
print(bfpo_bench.__file__)
sys.argv[1:] = "evaluate --model {tiny_llama} {options}".split()
main()
"""
    said = run([python, "-c", code], empty, quiet)
    assert Path(said.splitlines()[0]).is_relative_to(home)
    [results] = empty.glob("runs/*-mini/results.json")
    told = json.loads(results.read_text(encoding="utf-8"))
    assert told["bfpo_bench"] == bfpo_bench.__version__
    assert len(told["tasks"]) == 16
    assert {task["n"] for task in told["tasks"].values()} == {4}
    assert told["averages"]["savg"]["value"] is not None
