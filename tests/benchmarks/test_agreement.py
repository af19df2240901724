"""The comparison of a run with stock lm-eval finds nothing, and finds what is wrong."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import bfpo_bench
from benchmarks.agreement import main

pytestmark = pytest.mark.slow


def test_a_run_agrees_and_an_edited_one_does_not(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    bfpo_bench.evaluate(
        str(tiny_llama), suite="mini", tasks=("disc",), limit=4, output=run, backend="hf",
        device="cpu", dtype="float32",
    )  # fmt: skip
    asked = ["--run", str(run), "--model", str(tiny_llama), "--items", "2"]
    asked += ["--output", str(tmp_path)]
    assert main(asked) == 0
    page = capsys.readouterr().out
    assert "24 items drawn by seed 0" in page
    assert "Result: everything is equal; log-likelihoods differ by " in page
    assert "| winogrande | 2 | 4 | 4 | 4 | 2 |" in page

    with sqlite3.connect(run / "samples.sqlite") as db:
        db.execute("UPDATE scores SET loglikelihood = 0.5 WHERE task = 'bfpo_winogrande'")
        db.execute("UPDATE outcomes SET value = 1 - value WHERE task = 'bfpo_toxigen'")
    db.close()
    assert main(asked) == 0
    page = capsys.readouterr().out
    assert "NOT everything is equal" in page
    assert "| toxigen | 2 | 4 | 4 | 4 | 0 |" in page
    [largest] = [line.split("|")[-2] for line in page.splitlines() if "| winogrande" in line]
    assert float(largest) > 1


def test_a_run_without_scores_is_told(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bfpo_bench.evaluate(
        str(tiny_llama), suite="mini", tasks=("advbench",), limit=2, output=tmp_path / "run",
        backend="hf", device="cpu",
    )  # fmt: skip
    asked = ["--run", str(tmp_path / "run"), "--model", str(tiny_llama)]
    assert main([*asked, "--output", str(tmp_path)]) == 2
    assert "holds no scores to compare" in capsys.readouterr().err
