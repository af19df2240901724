"""Each tool's files become a run that can be judged, and say what they do not know."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.rejudge import judge_run
from bfpo_bench.imports import import_files
from bfpo_bench.imports.options import ImportOptions
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.options import JudgesOptions
from bfpo_bench.leaderboard.board import read_leaderboard
from bfpo_bench.leaderboard.options import LeaderboardOptions
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.run_json import read_run

from .conftest import EXCHANGES, INSPECT, attacks, completions, written

LEFT_OUT = "{} samples hold no answer of the model (an error, a limit) and were left out"

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


def marks(run: Path) -> list[str]:
    """What a reader must know, of the run's only task too."""
    found = read_results(run / "results.json")
    [cell] = found.tasks.values()
    return [*found.marks, *cell.marks]


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
    alike = "its interval takes the 4 answers as independent, and they are to 2 prompts"
    assert alike in marks(run)
    [task] = tasks(run).values()
    assert task["generation"] == {"temperature": 0.5, "max_new_tokens": 64}


def test_greedy_decoding_is_a_setting_too(tmp_path: Path) -> None:
    said = {"temperature": 0.0, "top_p": "?", "max_tokens": None}
    about = {"task": "t", "model": "m", "model_generate_config": said}
    log = {"version": 2, "eval": about, "samples": [asked("a", "b")]}
    [task] = tasks(imported(tmp_path, written(tmp_path / "t.json", log))).values()
    assert task["generation"] == {"temperature": 0.0}


def asked(question: Any, *said: str, **more: Any) -> dict[str, Any]:
    """A sample of inspect_ai's; several answers are what ``num_choices`` asks for."""
    choices = [{"message": {"role": "assistant", "content": one}} for one in said]
    usage = {"input_tokens": 3, "output_tokens": 5}
    return {"input": question, "output": {"choices": choices, "usage": usage}, **more}


def inspected(folder: Path, *samples: dict[str, Any], name: str = "t", **more: Any) -> Path:
    """A log of inspect_ai as JSON."""
    about = {"task": "t", "model": "m", "model_generate_config": more}
    log = {"version": 2, "status": "success", "eval": about, "samples": samples}
    return written(folder / f"{name}.json", log)


def test_samples_that_ended_before_an_answer(tmp_path: Path) -> None:
    """By an error, or by a limit: neither is an empty answer, and the row says how many."""
    error = {"message": "boom", "traceback": "", "traceback_ansi": ""}
    samples = [asked("a", "yes"), asked("b", "half", error=error), asked("c"), asked("d", "")]
    run = imported(tmp_path, inspected(tmp_path, *samples))
    assert responses(run) == [("a", "a", "yes", None), ("d", "d", "", None)]
    assert LEFT_OUT.format("2 of 4") in marks(run)


def test_what_inspect_ai_has_sent(tmp_path: Path) -> None:
    """A solver's template is a prompt; several choices are answers, whose tokens nobody counted."""
    sent = [
        {"role": "user", "content": "Say A or B: a"},
        {"role": "assistant", "content": "A"},
    ]
    samples = [asked("a", "A", messages=sent), asked("b", "one", "two")]
    run = imported(tmp_path, inspected(tmp_path, *samples))
    assert responses(run) == [
        ("a", "user: Say A or B: a", "A", None),
        ("b", "b", "one", None),
        ("b", "b", "two", None),
    ]
    with sqlite3.connect(run / "samples.sqlite") as db:
        assert sorted(db.execute("SELECT tokens FROM responses")) == [(0,), (0,), (5,)]
    db.close()


def test_a_log_that_has_no_end_yet(tmp_path: Path) -> None:
    """As inspect_ai leaves it where it is killed: what it writes last is the header."""
    from zipfile import ZipFile

    from bfpo_bench.imports.zip_log import opened

    with opened(INSPECT) as whole, ZipFile(tmp_path / "cut.eval", "w") as cut:
        for name in whole.names:
            if name != "header.json":
                cut.writestr(name, json.dumps(whole.json(name)))
    run = imported(tmp_path, tmp_path / "cut.eval")
    assert len(responses(run)) == 4
    assert "inspect_ai's log of my_task is not whole: its status is started" in marks(run)


def test_tasks_whose_names_have_nothing_plain_stay_apart(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{name}.json", completions()) for name in ("安全", "越狱", "x y")]
    found = read_results(imported(tmp_path, *files, model="m") / "results.json").tasks
    names = ["prompts", "prompts_2", "x_y"]
    assert [(cell.task, cell.n) for cell in found.values()] == [
        (f"imported_{name}", 2) for name in names
    ]


def test_files_that_were_sampled_otherwise(tmp_path: Path) -> None:
    """Only what all of them say is known."""
    files = [
        inspected(tmp_path, asked("a", "b"), name=name, temperature=value, top_p=0.5)
        for name, value in (("one", 0.0), ("two", 1.0))
    ]
    [task] = tasks(imported(tmp_path, *files)).values()
    assert task["generation"] == {"top_p": 0.5}


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
    assert LEFT_OUT.format("1 of 3") in marks(run)


def test_attacks_of_adversariallm(tmp_path: Path) -> None:
    """One file an attack, as there; the last step, judged by the prompt that was attacked."""
    whole = attacks()
    broken = {**whole["runs"][0], "steps": []}
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
    assert "of up to 2 steps of an attack the last is taken" in marks(made)
    alone = written(tmp_path / "a.json", {**whole, "runs": [broken, whole["runs"][1]]})
    part = import_files([alone], ImportOptions(output=tmp_path / "part")).path
    assert responses(part) == responses(made)[1:]
    assert LEFT_OUT.format("1 of 2") in marks(part)


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
    assert not [mark for mark in marks(run) if "left out" in mark]


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


def sampled(item: int, **more: Any) -> dict[str, Any]:
    """A sample as lm-eval 0.4.13 logs it (looked at with its dummy model)."""
    return {
        "doc_id": item,
        "doc": {"q": "?"},
        "arguments": {"gen_args_0": {"arg_0": f"Why {item}?", "arg_1": {"until": []}}},
        "resps": [["Because."]],
        "filtered_resps": ["Because."],
        "filter": "none",
        "prompt_hash": str(item),
        **more,
    }


def test_a_task_with_several_filters_has_each_response_once(tmp_path: Path) -> None:
    lines = [sampled(item, filter=name) for name in ("strict", "flexible") for item in (0, 1)]
    other = sampled(0, filter="flexible", prompt_hash="of another task")
    file = written(tmp_path / "samples_t.jsonl", [*lines, other])
    found = responses(imported(tmp_path, file, model="m"))
    assert [question for question, *_ in found] == ["Why 0?", "Why 1?", "Why 0?"]


@pytest.mark.parametrize("ours", [False, True])
def test_what_lm_eval_has_sent_to_a_server_of_chats(ours: bool, tmp_path: Path) -> None:
    """It logs messages (its ``JsonChatStr``) as a list with one text of JSON."""
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Do\u00a0it. "}]
    sample = sampled(0, arguments={"gen_args_0": {"arg_0": [json.dumps(chat)], "arg_1": {}}})
    if ours:
        sample["doc"] = {"goal": "Do\u00a0it", "target": "Sure", "item_id": "0" * 16}
    name = "bfpo_advbench" if ours else "theirs"
    file = written(tmp_path / f"samples_{name}_2026-01-01T00-00-00.000000.jsonl", [sample])
    prompt = "system: Be kind.\n\nuser: Do\u00a0it. " if ours else "Do\u00a0it. "
    found = responses(imported(tmp_path, file, model="m"))
    assert found == [("Do\u00a0it. ", prompt, "Because.", None)]


def test_each_samples_file_goes_with_its_results(tmp_path: Path) -> None:
    """Two models were asked the same task: they are not one."""
    files = []
    for model, day in (("one", "01"), ("two", "02")):
        date = f"2026-01-{day}T00-00-00.000000"
        about = {"results": {}, "configs": {"t": {}}, "model_name": f"org/{model}"}
        files += [
            written(tmp_path / f"results_{date}.json", about),
            written(tmp_path / f"samples_t_{date}.jsonl", [sampled(0)]),
        ]
    with pytest.raises(BadInput, match="holds org/one's answers, others those of org/two; name"):
        imported(tmp_path, *files)
    assert read_run(imported(tmp_path, *files[2:]))["identity"]["model"] == {"name": "org/two"}


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
