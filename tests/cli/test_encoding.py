"""The command line where the terminal knows ASCII only, and with names that are no Unicode."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.synthetic_runs import synthetic_run
from bfpo_bench.cli.encoding import _PLAIN, _in_plain_words

ASCII = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "COLUMNS": "100"}


def run(*arguments: str | bytes, cwd: Path | None = None) -> tuple[int, bytes, bytes]:
    command = [sys.executable, "-m", "bfpo_bench", *arguments]
    done = subprocess.run(command, capture_output=True, env=ASCII, cwd=cwd, check=False)
    return done.returncode, done.stdout, done.stderr


def test_replacements_are_ascii() -> None:
    assert all(plain.isascii() for plain in _PLAIN.values())
    sentence = "12.3 ± 0.4 of größe⁹ …語\ud800"
    error = UnicodeEncodeError("ascii", sentence, 5, len(sentence), "not in range")
    assert _in_plain_words(error) == ("+/- 0.4 of gro?e9 ...??", len(sentence))
    assert all(len(character) == 1 and not character.isascii() for character in _PLAIN)


def test_a_table_on_an_ascii_terminal(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path / "run", "größe", limit=10, tasks=("alert", "winogrande"))
    code, shown, said = run("leaderboard", str(folder), "--published")
    assert code == 0, said
    assert shown.isascii()
    assert b"gro?e" in shown
    assert b"9 The ablation table" in shown
    # Files are UTF-8 wherever they are written.
    table = tmp_path / "table.md"
    code, _, said = run("leaderboard", str(folder), "--format", "markdown", "--output", str(table))
    assert code == 0, said
    assert "größe" in table.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["größe-≥-語".encode(), b"no-unicode-\xff"])
def test_sentences_on_an_ascii_terminal(name: bytes) -> None:
    code, shown, said = run(b"evaluate", b"--model", b"/nowhere/" + name)
    assert (code, shown) == (2, b"")
    assert said.isascii()
    assert said.startswith(b"bfpo-bench: there is no model folder '/nowhere/")
    assert b"Traceback" not in said
