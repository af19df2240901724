"""What the first page shows is what is printed, on the real prompts of XSTest.

A tiny model stands for the page's: its numbers are others, its lines have the same words.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bfpo_bench.cli.app import app
from tests.docs.pages import ROOT, blocks

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "index.md"
MODEL = "SmolLM2-135M-Instruct"


def shown() -> Iterator[tuple[str, list[str]]]:
    """The page's commands, with the lines below each."""
    for block in blocks(PAGE):
        if block.language == "console":
            command, *lines = block.text.split("\n")
            yield command.removeprefix("$ bfpo-bench "), [line for line in lines if line.strip()]


def shape(line: str) -> str:
    """A line without its numbers, padding and what is cut: those are the model's."""
    plain = re.sub(r"[+-]?\d[\d.,]*( ± [\d.,]+)?|–\d+|<\.001|\w*…", "#", line)
    return re.sub(
        r"[\s─━]+", " ", re.sub(r"[\u00b9\u00b2\u00b3\u2070-\u2079˙*°]", "", plain)
    ).strip()


def test_every_line_is_printed(
    tiny_llama: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = data_dir / "xstest" / "xstest_prompts.csv"
    if not prompts.is_file():
        pytest.skip(f"no {prompts}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    shutil.copytree(tiny_llama, MODEL)
    (tmp_path / "data" / "xstest").mkdir(parents=True)
    shutil.copy(prompts, "data/xstest")
    [suite] = [block.text for block in blocks(PAGE) if block.text.startswith("# xstest.yaml")]
    Path("xstest.yaml").write_text(suite, encoding="utf-8")
    for command, lines in shown():
        done = CliRunner().invoke(app, shlex.split(command))
        assert done.exit_code == 0, f"{command}: {done.output[-500:]}"
        printed = {shape(line) for line in done.stdout.splitlines()}
        said = [line for line in lines if not command.startswith("show")]
        missing = [line for line in said if shape(line) not in printed]
        assert not missing, f"{command}: not printed: {missing}\n{done.stdout}"
