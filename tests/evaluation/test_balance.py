"""Suites joined by a plus: one run, one table, and averages that know which suite they are of."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.leaderboard import leaderboard
from bfpo_bench.leaderboard.load import load_rows
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.table import markdown


def answers(run: Path) -> set[tuple[object, ...]]:
    """What the model has said, with all that is stored of it."""
    with sqlite3.connect(run / "samples.sqlite") as database:
        return set(database.execute("SELECT * FROM responses"))


TASKS = ["advbench", "xstest_unsafe", "harmbench_copyright"]


def test_one_run_of_two_suites(tiny_llama: Path, tmp_path: Path) -> None:
    options = {"limit": 1, "judge": "keyword", "backend": "hf", "dtype": "float32"}
    both = tmp_path / "both"
    bfpo_bench.evaluate(str(tiny_llama), suite="mini", tasks=TASKS[:1], output=both, **options)
    before = answers(both)
    # A run of the one suite goes on as one of both, with the answers that are there.
    found = bfpo_bench.evaluate(
        str(tiny_llama), suite="mini+mini-balance", tasks=TASKS, output=both, **options
    )
    assert before < answers(both)
    with pytest.raises(BadInput, match=r'"mini\+mini-balance" there, "mini" asked for'):
        bfpo_bench.evaluate(str(tiny_llama), suite="mini", tasks=TASKS[:1], output=both, **options)
    assert list(found.tasks) == [f"bfpo_{name}" for name in TASKS]
    assert [cell.group for cell in found.tasks.values()] == ["gen", "harm", "apart"]
    assert found.suite["name"] == "mini+mini-balance"
    assert {key: len(mean.missing) for key, mean in found.averages.items()} == {
        "disc": 12, "gen": 3, "savg": 15, "harm": 5, "answ": 5,
    }  # fmt: skip
    assert read_results(both / "results.json") == found
    text = markdown(found)
    assert "| Model | Disc. | Gen. | Savg. | Harm. | Answ. |" in text
    assert "| HarmBench copyright | in no average |" in text
    assert "HarmBench copyright: a judge's view of protected texts" in text
    # Harm. of a run of the one suite is ranked with that of both: what was measured is the same.
    bfpo_bench.evaluate(
        str(tiny_llama), suite="mini-balance", tasks=["harm"], output=tmp_path / "one", **options
    )
    bfpo_bench.evaluate(
        str(tiny_llama),
        suite="mini+mini-balance",
        tasks=["harm"],
        output=tmp_path / "two",
        **options,
    )
    one, two = (load_rows([tmp_path / name]).rows[0].entry.cells for name in ("one", "two"))
    assert one["harm"].value is not None
    assert one["harm"].protocol == two["harm"].protocol
    board = leaderboard(tmp_path / "one", tmp_path / "two", full=True)
    text = board.render("markdown")
    assert "XSTest unsafe" in text
    assert "Harm." in text
