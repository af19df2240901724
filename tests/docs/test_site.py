"""The documentation as a site: `make docs`, and what a reader without network has of it."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse

import pytest
import typer

from bfpo_bench.cli.app import COMMANDS, app
from tests.docs.pages import ROOT

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e '.[docs]'")
pytestmark = pytest.mark.slow

TAG = re.compile(r"<(script|link|img|iframe|source|object|embed|video|audio)\b[^>]*>")
ADDRESS = re.compile(r"""\b(?:src|srcset|href|data)=["']?([^"'\s>]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it; a warning fails."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    return folder


def text(page: Path) -> str:
    return text_of(page.read_text(encoding="utf-8"))


def text_of(source: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", source))


def test_every_page_is_reached_from_the_first(site: Path) -> None:
    first = (site / "index.html").read_text(encoding="utf-8")
    pages = sorted((ROOT / "docs").rglob("*.md"))
    assert len(pages) > 35
    for page in pages:
        path = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert f'href="{path}"' in first, path
        assert (site / path).is_file()


def test_every_command_has_its_help_and_examples(site: Path) -> None:
    for name in COMMANDS:
        page = site / "reference" / "commands" / f"{name}.html"
        said, source = text(page), page.read_text(encoding="utf-8")
        for called, command in commands(name):
            assert f"bfpo-bench {called}" in said
            for parameter in command.params:
                assert f'id="{called.replace(" ", "-")}-{parameter.name}"' in source
                flags = [one for one in (*parameter.opts, *parameter.secondary_opts) if "-" in one]
                assert all(flag in said for flag in flags)
                assert " ".join((getattr(parameter, "help", None) or "").split()) in said
        assert re.search(r'More: <a href="\.\./\.\./[\w-]+\.html"', source)
        blocks = [text_of(one) for one in re.findall(r"<pre>(.*?)</pre>", source, re.S)]
        for called, command in commands(name):
            if not hasattr(command, "commands"):
                usage = next(
                    n for n, one in enumerate(blocks) if one.startswith(f"bfpo-bench {called} [")
                )
                assert blocks[usage + 1].startswith(f"bfpo-bench {called}"), called
                assert " ".join(blocks[usage + 1].split()) in " ".join(command.epilog.split())  # type: ignore[attr-defined]


def commands(name: str) -> list[tuple[str, object]]:
    """A command, and those below it, by what is typed."""
    root = typer.main.get_command(app)
    command = root.get_command(typer.Context(root), name)  # type: ignore[attr-defined]
    below = getattr(command, "commands", {})
    return [(name, command), *((f"{name} {one}", below[one]) for one in below)]


def test_the_reference_says_what_docstrings_say(site: Path) -> None:
    """Of the package, a class, a protocol, a loss; roles are links or plain, never markup."""
    import bfpo_bench
    from bfpo_bench.run.results import Results

    python = text(site / "reference" / "python.html")
    for one in (bfpo_bench.evaluate, bfpo_bench.train, bfpo_bench.sweep, Results):
        assert str(one.__doc__).split("\n")[0].replace("`", "") in python
    assert "bfpo_bench.evaluation.options.EvaluateOptions" in python
    assert "checkpoint folder or hub id" in python
    assert "Bi-factorial preference optimisation" in text(site / "reference" / "extending.html")
    for page in (site / "reference").glob("*.html"):
        assert not re.search(r":(class|func|mod|meth):", text(page)), page.name


def test_a_link_to_code_leads_to_its_line(site: Path) -> None:
    source = (site / "methods.html").read_text(encoding="utf-8").replace("<wbr>", "")
    found = re.findall(r'href="(repository/[^"#]+)#(L-\d+)"><code>(\w+)</code>', source)
    assert len(found) > 25
    for path, anchor, function in found:
        page = (site / path).read_text(encoding="utf-8")
        line = page.partition(f'id="{anchor}"')[2].partition("\n")[0]
        assert f"def {function}(" in re.sub(r"<[^>]+>", "", line)


def test_the_house_is_drawn(site: Path) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = (site / "architecture.html").read_text(encoding="utf-8")
    rooms = page.split("```")[1].split("subgraph")[1:]
    named = [name for floor in rooms for name in floor.partition("end")[0].split()[1:]]
    assert [*re.findall(r"<text [^>]+>(\w+)</text>", drawn)] == named
    assert drawn.count("<line ") == page.count(" --> ")


def test_nothing_is_asked_of_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        for tag in TAG.finditer(page.read_text(encoding="utf-8")):
            for address in ADDRESS.findall(tag[0]):
                assert urlparse(address).scheme in ("", "data"), f"{page.name}: {tag[0]}"
                assert not address.startswith("//"), f"{page.name}: {tag[0]}"
    for style in site.rglob("*.css"):
        outside = re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", style.read_text("utf-8"))
        assert not outside, style.name


def test_search_works_from_the_disk(site: Path) -> None:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (tests/install_chromium.sh)"
    )
    chromium = shutil.which(os.environ.get("BFPO_CHROMIUM", "chromium"))
    if chromium is None:
        pytest.skip("no Chromium on this machine (tests/install_chromium.sh gets it)")
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any("Wilson" in one["text"] for one in index["docs"])
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        wrong: list[str] = []
        asked: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "methods.html").as_uri())
        page.click(".md-search__input")
        page.locator(".md-search__input").press_sequentially("wilson")
        page.wait_for_selector(".md-search-result__item mark", timeout=60_000)
        page.wait_for_load_state()
        browser.close()
    assert not wrong
    assert {urlparse(one).scheme for one in asked} <= {"file", "data", "about"}
