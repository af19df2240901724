"""What a person sees of a run on a terminal, and what a file sees when the output goes there."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("pty", reason="pseudo-terminals are Unix's")

from bfpo_bench.cli import main
from tests.cli.terminal import frames, run_in_terminal

Captured = pytest.CaptureFixture[str]


def command(model: Path, output: Path) -> list[str]:
    """A run whose judge, a model that knows nothing of judging, cannot tell."""
    return [
        *("evaluate", "--model", str(model)),
        *("--suite", "mini", "--tasks", "toxigen,advbench", "--backend", "hf"),
        *("--judge", "harmbench-llama2-13b", "--judge-model", str(model)),
        *("--batch-size", "8", "--output", str(output)),
    ]


TWICE = """
import fcntl, struct, sys, termios
from bfpo_bench.cli.app import app
for columns in (80, 140):
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    print("columns", columns, flush=True)
    app([*sys.argv[1:], "--output", f"run-{columns}"], standalone_mode=False)
"""
"""The same command in a terminal of two widths, by one process, which takes long to start."""


@pytest.mark.slow
def test_a_person_sees_where_the_run_is(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = command(tiny_llama, tmp_path / "run")[:-2]
    code, written = run_in_terminal([sys.executable, "-c", TWICE, *words])
    assert code == 0, written
    narrow, wide = written.split("columns 140")
    for columns, shown in ((80, narrow.split("columns 80")[1]), (140, wide)):
        _sees_where_it_is(frames(shown), columns)


def _sees_where_it_is(lines: list[str], columns: int) -> None:
    bars = [line for line in lines if re.match(r"(score|respond|judge) bfpo_", line)]
    text = "\n".join(bars)

    # stage, task, done / total
    assert re.search(r"^score bfpo_toxigen .*\b52/52\b", text, re.MULTILINE)
    assert re.search(r"^respond bfpo_advbench .*\b24/24\b", text, re.MULTILINE)
    judged = next(line for line in bars if re.match(r"judge bfpo_advbench .*\b24/24\b", line))
    # rate, time left, tokens a second, unknown verdicts
    assert re.search(r"^score .* [\d.,]+/s .*left \d:\d\d:\d\d", text, re.MULTILINE)
    assert re.search(r"^respond .* [\d.,]+/s [\d,]+ tokens/s .*left \d:\d\d:\d\d", text, re.M)
    assert judged.endswith("24 unknown")

    # Nothing is cut off or wrapped, and the wide terminal has bars besides.
    assert not any("…" in bar for bar in bars)
    assert all(len(bar) <= columns for bar in bars)
    assert ("━" in text) == (columns == 140)

    # Where the time went, where it was a second; and nobody else writes between the bars.
    spent = [line for line in lines if line.startswith("Time: ")]
    assert all(re.fullmatch(r"Time: (\w+( \w+)? \d+ s(, )?)+\.", line) for line in spent)
    end = max(number for number, line in enumerate(lines) if line in bars) + 1
    others = [line for line in lines[:end] if line not in bars]
    # A long path may have wrapped a line.
    begun = [line.split()[0] for line in others if line[:1].isupper()]
    assert begun == ["Evaluating", "Loading", "Loading"]
    assert len(others) <= 4
    assert any("AdvBench" in line for line in lines[end:])


@pytest.mark.slow
def test_a_file_sees_lines_and_no_control_characters(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    monkeypatch.setattr(sys, "argv", ["bfpo-bench", *command(tiny_llama, tmp_path / "run")])
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    assert not ended.value.code
    # Stages of so little work may have taken a second; where the time went is said where one did.
    said = [line.split()[1] for line in err.splitlines() if not re.match(r"\S+ [a-z]", line)]
    assert [word for word in said if word != "Time:"] == ["Evaluating", "Loading", "Loading"]
    assert all(re.match(r"\d\d:\d\d ", line) for line in err.splitlines())
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out + err)
    assert "AdvBench" in out
    assert "24 of 24 verdicts unknown" in out
    assert not re.search(r"\d/s|left \d", out)


@pytest.mark.parametrize("arguments", [["tasks"], ["data", "list"]])
def test_lists_can_be_read_on_80_columns(arguments: list[str], tmp_path: Path) -> None:
    program = (sys.executable, "-m", "bfpo_bench")
    code, written = run_in_terminal([*program, *arguments], 80)
    lines = frames(written)
    assert code == 0
    assert max(map(len, lines)) <= 80
    # No word is cut, and what belongs together stands together.
    name = "bfpo_hhh_alignment" if arguments == ["tasks"] else "hhh_alignment"
    place = lines.index(name)
    assert re.match(r"  (Column|Variant): .* · ", lines[place + 1])
    code, written = run_in_terminal([*program, *arguments], 250)
    assert any(line.startswith("│ " + name) and line.endswith("│") for line in frames(written))
