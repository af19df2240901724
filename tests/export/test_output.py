"""What is written where, what is never written over, and what is refused by name."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.export import export_run
from bfpo_bench.run.store import ItemRecord, ScoreRecord, Store

from .conftest import IDENTITY, OF_SAMPLES, SCORED, MakeRun, write_run_json


@pytest.mark.parametrize("format", OF_SAMPLES)
def test_output_that_exists_is_kept_unless_forced(
    make_run: MakeRun, tmp_path: Path, format: str
) -> None:
    run = make_run()
    output = tmp_path / "out"
    first = export_run(run, format, output)
    with pytest.raises(BadInput, match=r"give another --output, or --force"):
        export_run(run, format, output)
    assert export_run(run, format, output, force=True) == first
    assert not list(tmp_path.rglob(".*tmp"))


def test_default_names(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    monkeypatch.chdir(tmp_path)
    paths = [str(export_run(run, format).path) for format in OF_SAMPLES]
    files = ["my-run.jsonl", "my-run.parquet", "my-run.csv"]
    assert paths == [*files, "my-run-lm-eval/org__model", "my-run-inspect"]


def test_the_run_itself_under_any_of_its_names(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    (run / "results-mine.json").write_text("{}")
    other = Path(shutil.copytree(run, tmp_path / "another run"))
    (tmp_path / "folder").symlink_to(run)
    (tmp_path / "link.jsonl").symlink_to(run / "results-mine.json")
    before = (run / "samples.sqlite").read_bytes(), (run / "run.json").read_bytes()
    monkeypatch.chdir(run)
    own = ("results.json", "results-mine.json", "results-new.json", "training.json", ".lock")
    others = ("annotator.log", ".owner", "Table.MD", "samples.sqlite", "samples.sqlite-wal")
    names = [run / name for name in (*own, *others)]
    ways = [
        *(Path("run.json"), Path("./x/../results.json"), tmp_path / "folder" / "table.md"),
        *(tmp_path / "link.jsonl", other / "samples.sqlite"),
    ]
    for path in (*names, *ways):
        with pytest.raises(BadInput, match="is a file of the run itself; give --output another"):
            export_run(run, "jsonl", path, force=True)
    assert ((run / "samples.sqlite").read_bytes(), (run / "run.json").read_bytes()) == before
    # A name of one's own may stand in the folder, and a run's beside it.
    assert export_run(run, "jsonl", run / "mine.jsonl").samples
    assert export_run(run, "jsonl", tmp_path / "table.md").samples


@pytest.mark.parametrize("format", OF_SAMPLES)
def test_a_failure_on_the_way_leaves_nothing(
    make_run: MakeRun, tmp_path: Path, format: str
) -> None:
    run = make_run([("a", "b")] * 3)
    with sqlite3.connect(run / "samples.sqlite") as db:
        # Text that is no UTF-8: what a damaged page can look like.
        db.execute("UPDATE responses SET response = CAST(X'FF' AS TEXT) WHERE item LIKE '%2'")
    db.close()
    folder = tmp_path / "outputs"
    with pytest.raises(BadInput, match=r"samples\.sqlite is damaged \(Could not decode to UTF-8"):
        export_run(run, format, folder / "out")
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("format", OF_SAMPLES)
def test_a_full_disk(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = make_run()
    (tmp_path / "outputs").mkdir()
    monkeypatch.setattr(os, "fsync", full)
    sentence = r"^cannot write .* No space left on device; make room or choose another --output\.$"
    with pytest.raises(RunFailed, match=sentence):
        export_run(run, format, tmp_path / "outputs" / "out")
    assert [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()] == []


def test_outputs_that_cannot_be(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInput, match="is a folder; give --output the name of a file"):
        export_run(run, "jsonl", tmp_path, force=True)
    for format in OF_SAMPLES:
        for output in (tmp_path / "file" / "below", tmp_path / "file" / "far" / "below"):
            # An export to lm-eval's layout goes into a folder below.
            said = (
                rf"^cannot write {output}\S* \(a file is in the way\); choose another --output\.$"
            )
            with pytest.raises(BadInput, match=said):
                export_run(run, format, output)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["..", "a/../..", "with\x00nul", "", "<>"])
def test_a_models_name_leads_nowhere_else(make_run: MakeRun, tmp_path: Path, name: str) -> None:
    identity = {**IDENTITY, "model": {**IDENTITY["model"], "name": name}}
    done = export_run(make_run(identity=identity), "lm-eval", tmp_path / "out")
    assert done.path.resolve().parent == tmp_path / "out"
    assert done.samples == 3


def test_bad_input_by_name(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    with pytest.raises(BadInput, match="unknown format 'parket'; did you mean 'parquet'"):
        export_run(run, "parket")
    with pytest.raises(BadInput, match="is no run directory"):
        export_run(tmp_path, "jsonl")
    with pytest.raises(BadInput, match="is no run directory"):
        export_run(tmp_path / "nowhere", "jsonl")
    write_run_json(tmp_path / "empty")
    with pytest.raises(BadInput, match="nothing has been answered in this run yet"):
        export_run(tmp_path / "empty", "jsonl", tmp_path / "out")
    Store(tmp_path / "empty" / "samples.sqlite").close()
    for format in OF_SAMPLES:
        with pytest.raises(BadInput, match="holds no answers yet"):
            export_run(tmp_path / "empty", format, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_newer_and_damaged_runs(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    newer = Path(shutil.copytree(run, tmp_path / "newer"))
    write_run_json(newer, schema=99)
    with pytest.raises(BadInput, match="newer bfpo-bench"):
        export_run(newer, "jsonl", tmp_path / "out")
    (run / "samples.sqlite").write_text("no database " * 100)
    with pytest.raises(BadInput, match="not a database"):
        export_run(run, "jsonl", tmp_path / "out")
    write_run_json(run, identity={"model": "just a name", "tasks": {}, "data": {}})
    with pytest.raises(BadInput, match=r"run\.json, model must be keys and values"):
        export_run(run, "jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_lm_eval_needs_the_tasks_as_they_were(make_run: MakeRun, tmp_path: Path) -> None:
    tasks = {SCORED: {"version": 0, "generation": None}}
    run = make_run(identity={**IDENTITY, "tasks": tasks})
    with pytest.raises(BadInput, match=f"version 0 of {SCORED}, this bfpo-bench knows version 1"):
        export_run(run, "lm-eval", tmp_path / "out")
    tasks = {**IDENTITY["tasks"], "../bfpo_winogrand": tasks[SCORED]}
    run = make_run(identity={**IDENTITY, "tasks": tasks})
    with pytest.raises(BadInput, match="winogrand', which is no task of this bfpo-bench, and"):
        export_run(run, "lm-eval", tmp_path / "out")


def test_a_folder_that_holds_files(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    folder = export_run(run, "lm-eval", tmp_path / "taken").path
    with pytest.raises(BadInput) as caught:
        export_run(run, "lm-eval", tmp_path / "taken")
    assert str(caught.value) == (
        f"{folder} holds files already; give another --output, or --force to add."
    )


def test_runs_of_one_model_share_its_folder(make_run: MakeRun, tmp_path: Path) -> None:
    """As lm-eval puts files of another date beside its own, and nothing beside what is not."""
    first = make_run()
    other = Path(shutil.copytree(first, tmp_path / "other"))
    for run, day in ((first, "2026-01-01"), (other, "2026-01-02")):
        write_run_json(run, sessions=[{"started": f"{day}T00:00:00+00:00", "seconds": {}}])
    folder = export_run(first, "lm-eval", tmp_path / "out").path
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert export_run(other, "lm-eval", tmp_path / "out").path == folder
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.items() < after.items()
    assert len(after) == 2 * len(before)
    assert {name.replace("2026-01-02", "2026-01-01") for name in after} == set(before)
    for run in (first, other):
        with pytest.raises(BadInput, match="holds files already"):
            export_run(run, "lm-eval", tmp_path / "out")
    (folder / "results_of_mine.txt").write_text("mine")
    write_run_json(other, sessions=[{"started": "2026-01-03T00:00:00+00:00", "seconds": {}}])
    with pytest.raises(BadInput, match="holds files already"):
        export_run(other, "lm-eval", tmp_path / "out")


def test_items_that_are_scored_in_part(tmp_path: Path) -> None:
    folder = write_run_json(tmp_path / "run")
    row = {"sentence": "_ ran.", "option1": "He", "option2": "She", "answer": "1"}
    with Store(folder / "samples.sqlite") as store:
        store.add_items([ItemRecord(SCORED, "a" * 16, 0, json.dumps(row))])
        store.add_scores([ScoreRecord("s", SCORED, "a" * 16, 0, "He", " ran.", -1.5, False, 0)])
    with pytest.raises(BadInput) as caught:
        export_run(folder, "lm-eval", tmp_path / "out")
    assert str(caught.value) == (
        f"{folder} holds no item whose choices are all scored yet; run the same evaluate command "
        "again, or export it with --format jsonl."
    )
    assert not list(tmp_path.glob("out/*"))


def test_a_red_teaming_is_no_evaluation(tmp_path: Path) -> None:
    identity = {"kind": "redteam", "model": {"name": "m"}, "tasks": {}, "data": {}}
    folder = write_run_json(tmp_path / "run", identity=identity)
    with pytest.raises(BadInput, match="is the run of a red teaming, no evaluation; what it has"):
        export_run(folder, "jsonl", tmp_path / "out")
