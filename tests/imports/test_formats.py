"""Each tool's files become a run that can be judged, and say what they do not know."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.evaluation.rejudge import judge_run
from bfpo_bench.imports import import_files
from bfpo_bench.imports.options import ImportOptions
from bfpo_bench.judges.chosen import JudgesOptions, choose_judge
from bfpo_bench.leaderboard.board import read_leaderboard
from bfpo_bench.leaderboard.options import LeaderboardOptions
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.run_json import read_run

from .conftest import EXCHANGES, INSPECT, attacks, completions, written

Said = tuple[str, str, str, str | None]


def responses(run: Path) -> list[Said]:
    """Question, prompt, response and thought, in the order of the items."""
    query = (
        "SELECT r.question, r.prompt, r.response, r.thought FROM responses r JOIN items i "
        "ON i.task = r.task AND i.item = r.item ORDER BY i.task, i.position"
    )
    with sqlite3.connect(run / "samples.sqlite") as db:
        found = db.execute(query).fetchall()
    db.close()
    return found


def tasks(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_run(run)["identity"]["tasks"]
    return found


def imported(tmp_path: Path, *files: Path, **options: Any) -> Path:
    return import_files(files, ImportOptions(output=tmp_path / "run", **options)).path


def test_a_log_that_inspect_ai_has_written(tmp_path: Path) -> None:
    """Packed with zstd; each question is asked twice, and one answer holds a thought."""
    run = imported(tmp_path, INSPECT)
    before = "system: Be kind.\n\nuser: "
    tea, second = "How is tea made?", "Second?"
    assert sorted(responses(run)) == [
        *[(tea, before + tea, "I cannot help with that.", None)] * 2,
        *[(second, before + second, "Sure, here is how", "hm")] * 2,
    ]
    assert read_run(run)["identity"]["model"] == {"name": "toy/one"}
    [task] = tasks(run).values()
    assert task["generation"] == {"temperature": 0.5, "max_new_tokens": 64}


def test_greedy_decoding_is_a_setting_too(tmp_path: Path) -> None:
    said = {"temperature": 0.0, "top_p": "?", "max_tokens": None}
    about = {"task": "t", "model": "m", "model_generate_config": said}
    log = {"version": 2, "eval": about, "samples": [{"input": "a"}]}
    [task] = tasks(imported(tmp_path, written(tmp_path / "t.json", log))).values()
    assert task["generation"] == {"temperature": 0.0}


@pytest.mark.parametrize("more", [[], [{"prompt": "b", "response": "d"}]])
def test_a_first_line_of_any_length(tmp_path: Path, more: list[Any]) -> None:
    long = "a" * 100_000
    file = written(tmp_path / "t.jsonl", [{"prompt": long, "response": "c"}, *more])
    asked = [question for question, *_ in responses(imported(tmp_path, file, model="m"))]
    assert asked == [long, *(one["prompt"] for one in more)]


def test_completions_of_harmbench(tmp_path: Path) -> None:
    """A behavior may have none."""
    file = written(tmp_path / "direct.json", {"none": [], **completions()})
    run = imported(tmp_path, file, model="org/m")
    assert responses(run) == [(asked, asked, said, None) for asked, said in EXCHANGES]
    assert list(tasks(run)) == ["imported_direct"]


def test_attacks_of_adversariallm(tmp_path: Path) -> None:
    """One file an attack, as there; the last step, judged by the prompt that was attacked."""
    whole = attacks()
    files = []
    for number, run in enumerate(whole["runs"]):
        (tmp_path / str(number)).mkdir()
        files.append(written(tmp_path / str(number) / "run.json", {**whole, "runs": [run]}))
    made = imported(tmp_path, *files)
    assert responses(made) == [(asked, f"{asked} !!!", said, None) for asked, said in EXCHANGES]
    assert read_run(made)["identity"]["model"] == {"name": "microsoft/phi"}
    assert tasks(made) == {
        "imported_adv_behaviors_gcg": {
            "version": 1,
            "metric": "harmless",
            "chat_template": True,
            "generation": {"temperature": 0.0, "max_new_tokens": 32},
            "prompts": "instructions",
        }
    }
    marks = read_results(made / "results.json").marks
    assert "of up to 2 steps of an attack the last is taken" in marks


@pytest.mark.parametrize("format", ["auto", "jsonl"])
def test_json_lines_with_fields_of_ones_own(tmp_path: Path, format: str) -> None:
    lines = [
        {"ask": {"text": "a"}, "said": "<think>no</think>b"},
        {"ask": {"text": "c"}, "said": " "},
        {"ask": {"text": "a"}, "said": "again"},
    ]
    file = written(tmp_path / "mine.jsonl", lines)
    fields = {"prompt_field": "ask.text", "response_field": "said"}
    run = imported(tmp_path, file, model="m", format=format, **fields)
    assert responses(run) == [
        ("a", "a", "b", "no"),
        ("c", "c", " ", None),
        ("a", "a", "again", None),
    ]
    [cell] = read_results(run / "results.json").tasks.values()
    assert (cell.n, cell.no_answer, cell.score) == (3, 1, None)


def test_samples_of_a_task_that_is_lm_evals_own(tmp_path: Path) -> None:
    name = "2026-01-01T00-00-00.000000"
    sample = {
        "doc": {"q": "?"},
        "arguments": {"gen_args_0": {"arg_0": "Why?", "arg_1": {"until": []}}},
        "resps": [["Because.", "So."]],
        "filtered_resps": ["Because."],
    }
    about = {
        "results": {},
        "configs": {"theirs": {"generation_kwargs": {"temperature": 0.2, "max_gen_toks": 9}}},
        "model_name": "org/m",
    }
    files = [
        written(tmp_path / f"samples_theirs_{name}.jsonl", [sample]),
        written(tmp_path / f"results_{name}.json", about),
    ]
    run = imported(tmp_path, *files)
    assert responses(run) == [("Why?", "Why?", "Because.", None), ("Why?", "Why?", "So.", None)]
    assert tasks(run)["imported_theirs"]["generation"] == {"temperature": 0.2, "max_new_tokens": 9}


def test_prompts_of_a_task_are_its_items(tmp_path: Path) -> None:
    """The bundled items of AdvBench: all of them, some of them, and one asked twice."""
    from bfpo_bench.suites import load_suite
    from bfpo_bench.tasks import advbench
    from bfpo_bench.tasks.requests import load_tasks

    suite = load_suite("mini").only(["advbench"])
    [task] = load_tasks(suite)
    goals = [advbench.prompt(row) for row in task.loaded.rows]
    asked = [(goal, "I cannot help with that.") for goal in goals]
    options = {"model": "m", "task": "advbench", "suite": "mini"}
    whole = written(tmp_path / "whole.json", completions(asked))
    run = imported(tmp_path, whole, **options)
    [cell] = read_results(run / "results.json").tasks.values()
    assert (cell.task, cell.n, cell.group) == ("bfpo_advbench", len(goals), "gen")
    assert cell.source["digest"] == task.loaded.digest
    with sqlite3.connect(run / "samples.sqlite") as db:
        assert {item for (item,) in db.execute("SELECT item FROM items")} == set(task.ids)
    db.close()
    some = written(tmp_path / "some.json", completions([*asked[:3], asked[0]]))
    part = import_files([some], ImportOptions(output=tmp_path / "part", **options)).path
    [cell] = read_results(part / "results.json").tasks.values()
    assert cell.n == 3
    assert cell.source["digest"] != task.loaded.digest
    left = "1 further answers to prompts that have one were left out"
    assert cell.marks[:2] == [f"answers to 3 of its {len(goals)} items", left]


def test_what_was_imported_is_judged_and_becomes_a_row(tmp_path: Path) -> None:
    file = written(tmp_path / "mine.json", completions())
    run = imported(tmp_path, file, model="org/m")
    keyword = choose_judge(JudgesOptions(judge="keyword"), gives=None)
    unjudged = read_leaderboard([run]).entries[0]
    assert unjudged.fault is None
    assert "imported_mine" not in unjudged.cells
    assert "nobody says what is harmful; `bfpo-bench judge RUN" in " ".join(unjudged.marks)
    judge_run(run, keyword)
    judge_run(run, keyword)  # again, which finds all verdicts there
    board = read_leaderboard([run], LeaderboardOptions(full=True))
    [row] = board.entries
    # One of the two is a refusal.
    assert (row.fault, row.cells["imported_mine"].value) == (None, 50.0)
    assert "gen" not in row.cells
    assert "answers imported from HarmBench" in " ".join(row.marks)
    assert "mine" in str(board)
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert results["judge"]["judge"] == results["refusal_judge"]["judge"] == "keyword"
