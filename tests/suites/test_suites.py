"""Suites say what the paper did; files that do not fit are refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.suites import Suite, load_suite, suite_names, task_declaration


def test_the_paper_suite_is_the_papers() -> None:
    suite = load_suite("paper")
    assert len([t for t in suite.tasks if t.group == "disc"]) == 12
    gen = {t.task: t for t in suite.tasks if t.group == "gen"}
    assert gen["bfpo_advbench"].generation == Sampling(256, 0.7, 0.95, ())
    assert gen["bfpo_realtoxicityprompts"].generation == Sampling(256, 0.7, 1.0, ("\n\n",))
    assert gen["bfpo_alert"].generation == Sampling(256, 0.7, 1.0, ())
    assert gen["bfpo_alert_adversarial"].generation == Sampling(256, 0.7, 1.0, ())
    assert [t.task for t in suite.tasks if t.chat_template] == [
        "bfpo_advbench",
        "bfpo_alert",
        "bfpo_alert_adversarial",
    ]
    assert suite.judge == "harmbench-llama2-13b"
    assert not suite.demonstration


def test_mini_has_the_same_columns() -> None:
    paper, mini = load_suite("paper"), load_suite("mini")
    assert [(t.task, t.column, t.metric) for t in paper.tasks] == [
        (t.task, t.column, t.metric) for t in mini.tasks
    ]
    assert mini.demonstration
    assert suite_names() == ["mini", "paper"]


def test_suites_and_task_files_agree() -> None:
    for task in load_suite("paper").tasks:
        declaration = task_declaration(task.task)
        assert declaration["task"] == task.task
        if task.generation is None:
            assert task.metric in {m["metric"] for m in declaration["metric_list"]}
        else:
            settings = declaration["generation_kwargs"]
            assert settings["temperature"] == task.generation.temperature
            assert settings.get("top_p", 1.0) == task.generation.top_p
            assert settings["max_gen_toks"] == task.generation.max_new_tokens
            assert tuple(settings["until"]) == task.generation.stop


def test_part_of_a_suite() -> None:
    suite = load_suite("paper")
    assert [t.task for t in suite.only(["toxigen", "bfpo_advbench"]).tasks] == [
        "bfpo_toxigen",
        "bfpo_advbench",
    ]
    assert len(suite.only(["disc"]).tasks) == 12
    assert len(suite.only(["bfpo_gen", "toxigen"]).tasks) == 5
    with pytest.raises(BadInput, match="did you mean 'bfpo_toxigen'"):
        suite.only(["toxigne"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: x", "has no 'version', 'data', 'judge', 'tasks'; add what is missing"),
        ("nam: x", r"unknown field in the suite .*mine\.yaml: 'nam'; did you mean 'name'"),
        (": :", r"mine\.yaml, line 1 is not YAML \(.*\); mend the suite"),
        ("a: \0", r"is not YAML \(unacceptable character"),
        ("[" * 100_000, "is not YAML"),
        ("version: 2020-13-45", r"is not YAML \(month must be in"),
        ("- a", "a mapping of names to values is needed, found list"),
        ("", "a mapping of names to values is needed, found nothing"),
        ("{name: x, version: 1, data: big, judge: j, tasks: [{}]}", "real or mini"),
        ("{name: x, version: 1, data: mini, judge: j, tasks: []}", "at least one task"),
        (
            "{name: x, version: 1, data: mini, judge: j, tasks: [{task: t, column: c, group: gen, "
            "metric: harmless, direction: higher, chat_template: true}]}",
            r"\(metric harmless\), and no other, has 'generation'; the metric here is 'harmless'",
        ),
    ],
)
def test_bad_suite_files(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=sentence):
        load_suite(str(path))


SCORED = {
    "task": "bfpo_toxigen",
    "column": "ToxiGen",
    "group": "disc",
    "metric": "acc",
    "direction": "higher",
    "chat_template": False,
}
JUDGED = {**SCORED, "task": "bfpo_alert", "group": "gen", "metric": "harmless", "generation": {}}


def load(tmp_path: Path, *tasks: dict[str, object], **changes: object) -> Suite:
    path = tmp_path / "mine.yaml"
    suite = {"name": "x", "version": 1, "data": "mini", "judge": "keyword", "tasks": list(tasks)}
    path.write_text(yaml.safe_dump({**suite, **changes}))
    return load_suite(str(path))


def test_a_suite_of_ones_own(tmp_path: Path) -> None:
    drawn = {"temperature": 1, "top_p": 0.5, "max_new_tokens": 8, "stop": ["\n"]}
    suite = load(tmp_path, SCORED, {**JUDGED, "generation": drawn})
    assert [t.generation for t in suite.tasks] == [None, Sampling(8, 1.0, 0.5, ("\n",))]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": 7}, "mine.yaml: the value of 'name' must be a text, not 7."),
        (
            {"version": "one"},
            "mine.yaml: the value of 'version' must be a whole number, not 'one'.",
        ),
        ({"version": True}, "mine.yaml: the value of 'version' must be a whole number, not True."),
        ({"judge": ["a"]}, "mine.yaml: the value of 'judge' must be a text, not ['a']."),
        (
            {"tasks": [SCORED, JUDGED, SCORED]},
            "mine.yaml: the task 'bfpo_toxigen' stands twice in it; leave one out.",
        ),
    ],
)
def test_fields_of_a_suite_that_are_not_right(
    tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(BadInput) as caught:
        load(tmp_path, SCORED, **change)
    assert str(caught.value) == f"{tmp_path}/{sentence}"


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ({**SCORED, "task": 1}, ": the value of 'task' must be a text, not 1."),
        (
            {**SCORED, "chat_template": "no"},
            ": the value of 'chat_template' must be true or false, not 'no'.",
        ),
        ({**SCORED, "group": "both"}, ": 'group' must be disc or gen, not 'both'."),
        (
            {**SCORED, "direction": "up"},
            ": 'direction' must be higher, lower or nearer-50, not 'up'.",
        ),
        (
            {**JUDGED, "generation": {"temperature": -1}},
            ", generation: the setting 'temperature' must be 0 or more, not -1.",
        ),
        (
            {**JUDGED, "generation": {"temperature": "hot"}},
            ", generation: the setting 'temperature' must be 0 or more, not 'hot'.",
        ),
        (
            {**JUDGED, "generation": {"top_p": 0}},
            ", generation: the setting 'top_p' must be more than 0 and at most 1, not 0.",
        ),
        (
            {**JUDGED, "generation": {"max_new_tokens": 1.5}},
            ", generation: the setting 'max_new_tokens' must be a whole number from 1 on, not 1.5.",
        ),
        (
            {**JUDGED, "generation": {"stop": "\n"}},
            ", generation: 'stop' must be a list of texts, not '\\n'.",
        ),
        ({**JUDGED, "generation": []}, ", generation: a mapping of names to values is needed, "),
    ],
)
def test_tasks_of_a_suite_that_are_not_right(
    tmp_path: Path, task: dict[str, object], sentence: str
) -> None:
    with pytest.raises(BadInput) as caught:
        load(tmp_path, task)
    assert str(caught.value).startswith(f"{tmp_path}/mine.yaml, task 1{sentence}")


def test_suites_and_tasks_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown suite 'papr'; did you mean 'paper'"):
        load_suite("papr")
    with pytest.raises(
        BadInput, match=r"there is no suite file 'papr\.yaml'; give the path of a YAM"
    ):
        load_suite("papr.yaml")
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    with pytest.raises(
        BadInput, match=r"^the suite file .* cannot be read \(Is a directory\); give"
    ):
        load_suite(str(folder))
    with pytest.raises(BadInput, match="unknown task 'bfpo_toxigne'; did you mean 'bfpo_toxigen'"):
        task_declaration("bfpo_toxigne")
