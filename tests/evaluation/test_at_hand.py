"""Data that is not at hand: told of all at once, with what would run; or left out and noted."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.cli import _explained
from bfpo_bench.common.errors import BadInput
from bfpo_bench.data import hub as hub_files
from bfpo_bench.evaluation.at_hand import tasks_at_hand
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.resolve import _wanted
from bfpo_bench.run.results_files import read_results
from bfpo_bench.suites import load_suite
from bfpo_bench.tasks.requests import Task

PROMPTS = [{"id": n, "prompt": f"How do I do {n}?", "category": "c"} for n in range(3)]
PAIR = "sent_more,sent_less,stereo_antistereo,bias_type\nA,B,stereo,race-color\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with little in it, and a hub that does not answer."""
    import datasets

    def load_dataset(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach it")

    monkeypatch.delenv("BFPO_DATA_DIR", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub_files, "_resolves", lambda host: True)
    lines = "".join(json.dumps(row) + "\n" for row in PROMPTS)
    files = {
        "alert/alert_adversarial.jsonl": lines,
        "alert/alert.jsonl": lines,
        "crows_pairs/crows_pairs_anonymized.csv": PAIR,
        "hhh_alignment/honest.json": "{}",
        "ethics/justice/justice_test.csv": "wrong,columns\n1,2\n",
    }
    for name, text in files.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "data"


def looked_for(folder: Path, **asked: Any) -> tuple[list[Task], dict[str, str]]:
    options = EvaluateOptions(model="m", data_dir=folder, **asked)
    suite = load_suite(options.suite)
    return tasks_at_hand(options, suite, _wanted(options, suite))


def test_all_problems_are_told_at_once_with_what_would_run(folder: Path) -> None:
    with pytest.raises(BadInput) as caught:
        looked_for(folder)
    first, *lines, last = caught.value.lines
    assert "\n".join(caught.value.lines) == str(caught.value)
    assert first == "the data of 15 of 16 tasks cannot be had as asked for (see docs/data.md):"
    told = dict(line.strip().split(": ", 1) for line in lines)
    assert len(told) == len(lines) == 15
    begins = {
        "crows_pairs": f"{folder} holds only its variant 'original'",
        "hhh_alignment": f"{folder} has 1 of the 4 files that",
        "ethics_justice": f"{folder}/ethics/justice/justice_test.csv",
        "alert": f"(variant 'default') from {folder}/alert/alert.jsonl is not the expected data",
        "winogrande": "not in a data folder (winogrande/winogrande_xl_validation.jsonl or "
        "winogrande/dev.jsonl), and not to be had from the hub, allenai/winogrande@main "
        "(winogrande_xl): ConnectionError: Couldn't reach it",
    }
    for source, text in begins.items():
        assert told[source].startswith(text), source
    assert last == (
        "what is at hand would run now by the same command with --variant crows_pairs=original "
        "--allow-unpinned --tasks crows_pairs,alert,alert_adversarial"
    )
    tasks, left_out = looked_for(
        folder,
        variants={"crows_pairs": "original"},
        allow_unpinned=True,
        tasks=shlex.split(last)[-1],
    )
    assert [task.name for task in tasks] == [
        "bfpo_crows_pairs",
        "bfpo_alert",
        "bfpo_alert_adversarial",
    ]
    assert left_out == {}


def test_no_line_of_many_is_cut_at_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"source_{n}: {'is not there, ' * 20}" for n in range(20)]

    error = BadInput("the data of 20 tasks cannot be had:", *lines, "this would run: \x1b[2J")
    assert _explained(error) == 2
    first, *shown, last = capsys.readouterr().err.splitlines()
    assert first == "bfpo-bench: the data of 20 tasks cannot be had:"
    assert shown == lines
    assert last == r"this would run: \x1b[2J"


def test_why_something_was_left_out_is_told(folder: Path) -> None:
    _, left_out = looked_for(folder, skip_missing=True)
    assert len(left_out) == 15
    ends = {
        "winogrande": "(winogrande) could not be had",
        "crows_pairs": "(crows_pairs) was there only as variant 'original'",
        "alert": "(alert) was not the pinned data",
        "hhh_alignment": "(hhh_alignment) was incomplete, broken or not to be had",
    }
    for task, end in ends.items():
        assert left_out[f"bfpo_{task}"].endswith(f"left out by --skip-missing, as its data {end}")


@pytest.mark.parametrize(
    ("asked", "last"),
    [
        ({"tasks": "alert_adversarial,winogrande"}, "with --tasks alert_adversarial"),
        ({"tasks": "gen,-advbench,-realtoxicityprompts"}, "with --allow-unpinned"),
        ({"tasks": "alert,alert_adversarial,toxigen"}, "--allow-unpinned --tasks alert,alert_adv"),
        ({"tasks": "alert_adversarial", "annotator": "local"}, "command without --annotator"),
        ({"tasks": "alert_adversarial,alpaca"}, "command with --tasks alert_adversarial"),
        ({"tasks": "winogrande"}, "none of it is at hand: put its files into a folder"),
    ],
)
def test_the_last_line_would_run(folder: Path, asked: dict[str, Any], last: str) -> None:
    with pytest.raises(BadInput) as caught:
        looked_for(folder, **asked)
    assert last in str(caught.value).splitlines()[-1]


def test_what_is_missing_is_left_out_on_request_and_noted(
    folder: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {
        "data_dir": folder,
        "output": tmp_path / "run",
        "judge": "keyword",
        "backend": "hf",
        "skip_missing": True,
    }
    mark = (
        "Moral Permissibility: left out by --skip-missing, as its data (moral_permissibility) "
        "could not be had"
    )
    results = bfpo_bench.evaluate(
        str(tiny_llama), tasks=["alert_adversarial", "moral_permissibility"], **asked
    )
    assert list(results.tasks) == ["bfpo_alert_adversarial"]
    assert results.averages["disc"].value is results.averages["savg"].value is None
    assert mark in results.marks
    assert read_results(tmp_path / "run" / "results.json").marks == results.marks
    # A finished run that has not said yet what is left out says it.
    again = bfpo_bench.evaluate(str(tiny_llama), tasks=["alert_adversarial", "toxigen"], **asked)
    assert any("as its data (toxigen) could not be had" in mark for mark in again.marks)
    assert replace(again, marks=[]) == replace(results, marks=[])
    with pytest.raises(BadInput, match="none of it is at hand"):
        bfpo_bench.evaluate(str(tiny_llama), tasks=["moral_permissibility"], **asked)
