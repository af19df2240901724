"""A run that goes out as logs of inspect_ai or lm-eval and comes in again is the same row."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.rejudge import judge_run
from bfpo_bench.export import export_run
from bfpo_bench.imports import import_files
from bfpo_bench.imports.options import ImportOptions
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.options import JudgesOptions
from bfpo_bench.leaderboard.columns import COLUMNS
from bfpo_bench.leaderboard.load import load_rows
from bfpo_bench.leaderboard.ranking import unlike
from bfpo_bench.leaderboard.rows import Entry
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.run_json import read_run
from bfpo_bench.run.store.schema import ASKED


def entry(run: Path) -> Entry:
    """The run's row; none with a fault."""
    [row] = load_rows([run]).rows
    assert row.entry.fault is None
    return row.entry


def stored(run: Path) -> dict[str, list[Any]]:
    """Every table of the store, rows with numbers and JSON as such."""
    found = {}
    with sqlite3.connect(run / "samples.sqlite") as db:
        for table in (*ASKED, "outcomes"):
            found[table] = db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4").fetchall()
        items = db.execute("SELECT task, item, position, row FROM items ORDER BY 1, 2").fetchall()
        found["items"] = [(*where, json.loads(row)) for *where, row in items]
    db.close()
    return found


def out_and_in(run: Path, folder: Path) -> Path:
    logs = export_run(run, "inspect", folder / "logs").path
    return import_files(sorted(logs.iterdir()), ImportOptions(output=folder / "again")).path


def test_logs_of_inspect_ai_are_the_run_again(whole: Path, tmp_path: Path) -> None:
    again = out_and_in(whole, tmp_path)
    names = {"run.json", "samples.sqlite", "results.json", "table.md"}
    assert {path.name for path in again.iterdir()} == names
    before, after = stored(whole), stored(again)
    for table, rows in before.items():
        assert after[table] == rows, table
    assert len(before["responses"]) == 80
    for name in ("identity", "sessions"):
        assert read_run(again)[name] == read_run(whole)[name]
    old, new = (read_results(run / "results.json") for run in (whole, again))
    said = "made again of logs of inspect_ai, with the verdicts that they hold"
    assert replace(new, marks=new.marks[:-1]) == old
    assert new.marks[-1] == said
    assert entry(again).cells == entry(whole).cells


def test_some_of_the_logs_are_a_part_of_the_run(whole: Path, tmp_path: Path) -> None:
    logs = sorted(export_run(whole, "inspect", tmp_path / "logs").path.iterdir())
    some = [path for path in logs if "advbench" in path.name or "toxigen" in path.name]
    done = import_files(some, ImportOptions(output=tmp_path / "part"))
    assert (done.samples, done.judged) == (40, True)
    row, own = entry(done.path), entry(whole)
    assert row.cells["advbench"].value == own.cells["advbench"].value
    assert "gen" not in row.cells
    missing = read_results(done.path / "results.json").averages["gen"].missing
    assert sorted(missing) == ["ALERT", "ALERT Adversarial", "RealToxicityPrompts"]


def test_a_run_that_is_not_finished_can_be_gone_on_with(whole: Path, tmp_path: Path) -> None:
    half = Path(shutil.copytree(whole, tmp_path / "half"))
    (half / "results.json").unlink()
    again = out_and_in(half, tmp_path)
    assert stored(again) == stored(half)
    assert not (again / "results.json").exists()


@pytest.mark.slow
def test_lm_evals_files_are_the_same_numbers_and_are_not_ranked(
    tiny_llama: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    common: dict[str, Any] = {"backend": "hf", "dtype": "float32", "judge": "keyword"}
    tasks = ["toxigen", "crows_pairs", "advbench"]
    bfpo_bench.evaluate(str(tiny_llama), suite="mini", tasks=tasks, output=run, limit=6, **common)
    files = export_run(run, "lm-eval", tmp_path / "files").path.iterdir()
    done = import_files(sorted(files), ImportOptions(output=tmp_path / "again"))
    assert (done.samples, done.judged) == (18, False)
    before, after = stored(run), stored(done.path)
    # Prompt, question and response; context, continuation, log-likelihood and greediness.
    assert sorted(r[1:6] for r in after["responses"]) == sorted(r[1:6] for r in before["responses"])
    assert sorted(r[1:8] for r in after["scores"]) == sorted(r[1:8] for r in before["scores"])
    assert after["outcomes"] == before["outcomes"]
    row, own = entry(done.path), entry(run)
    for key in ("toxigen", "crows_pairs"):
        assert row.cells[key].value == own.cells[key].value
    # What is judged has its answers, and no number before somebody has judged them.
    assert "advbench" not in row.cells
    judge_run(done.path, choose_judge(JudgesOptions(judge="keyword"), gives=None))
    assert entry(done.path).cells["advbench"].value == own.cells["advbench"].value
    # Beside two full runs it is not ranked, and says why.
    why = unlike([own, replace(own, name="other"), entry(done.path)], COLUMNS["toxigen"])
    [said] = why.values()
    assert "answers from lm-eval instead of bfpo-bench" in said
    # Out again, with the sampling that the files have said: all but where to stop.
    third = export_run(done.path, "lm-eval", tmp_path / "third")
    assert third.samples == 18
    first, last = (
        json.loads(next(folder.rglob("results_*.json")).read_text(encoding="utf-8"))["configs"]
        for folder in (tmp_path / "files", third.path)
    )
    kwargs = first["bfpo_advbench"]["generation_kwargs"]
    assert kwargs.pop("until") == []
    assert last["bfpo_advbench"]["generation_kwargs"] == kwargs


def test_logs_of_two_runs_are_not_mixed(whole: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(whole, tmp_path / "other"))
    content = json.loads((other / "run.json").read_text(encoding="utf-8"))
    content["identity"]["seed"] = 7
    (other / "run.json").write_text(json.dumps(content), encoding="utf-8")
    one = sorted(export_run(whole, "inspect", tmp_path / "one").path.iterdir())
    two = sorted(export_run(other, "inspect", tmp_path / "two").path.iterdir())
    with pytest.raises(BadInput, match="are of different runs; import each run's logs by themsel"):
        import_files([one[0], two[1]], ImportOptions(output=tmp_path / "x"))
    twice = Path(shutil.copy(one[0], tmp_path / "twice.eval"))
    with pytest.raises(BadInput, match="both hold bfpo_"):
        import_files([one[0], twice], ImportOptions(output=tmp_path / "x"))
    with pytest.raises(BadInput, match="is given 2 times; name it once"):
        import_files([one[0], one[1], one[0]], ImportOptions(output=tmp_path / "x"))
    assert not (tmp_path / "x").exists()
