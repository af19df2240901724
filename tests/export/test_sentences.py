"""What a user reads when an export has nowhere to go or nothing to hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.export import export_run
from bfpo_bench.run.store import ItemRecord, ScoreRecord, Store
from tests.export.conftest import SCORED, MakeRun, write_run_json


@pytest.mark.parametrize("format", ["jsonl", "lm-eval"])
def test_outputs_that_cannot_be_written(make_run: MakeRun, tmp_path: Path, format: str) -> None:
    run = make_run()
    (tmp_path / "file").touch()
    for output in (tmp_path / "file" / "below", tmp_path / "file" / "far" / "below"):
        with pytest.raises(BadInput) as caught:
            export_run(run, format, output)
        # An export to lm-eval's layout goes into a folder below.
        caught.match(
            rf"^cannot write {output}\S* \(a file is in the way\); choose another --output\.$"
        )


def test_a_folder_that_holds_files(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    folder = export_run(run, "lm-eval", tmp_path / "taken").path
    with pytest.raises(BadInput) as caught:
        export_run(run, "lm-eval", tmp_path / "taken")
    assert str(caught.value) == (
        f"{folder} holds files already; give another --output, or --force to add."
    )


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
