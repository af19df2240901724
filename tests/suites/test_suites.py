"""Suites say what the paper did; files that do not fit are refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.suites import Suite, group_field, load_suite, suite_names


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
    assert {t.metric for t in suite.tasks} == {"pct_stereotype", "acc", "harmless"}
    assert [t.task for t in suite.tasks if t.direction != "higher"] == ["bfpo_crows_pairs"]
    assert (suite.tasks[0].direction, suite.judge) == ("nearer-50", "harmbench-llama2-13b")
    # As AlpacaEval runs open models (Zephyr, Vicuna and most others of its leaderboard).
    helpful = suite.helpfulness
    assert helpful is not None
    assert (helpful.metric, helpful.generation) == ("win_rate", Sampling(2048, 0.7, 1.0, ()))
    assert not suite.demonstration


@pytest.mark.parametrize("name", ["paper", "balance", "multilingual"])
def test_mini_has_the_same_columns_and_shorter_answers(name: str) -> None:
    paper, mini = load_suite(name), load_suite("mini" if name == "paper" else f"mini-{name}")
    assert [(t.task, t.column, t.metric) for t in paper.everything] == [
        (t.task, t.column, t.metric) for t in mini.everything
    ]
    for task, other in zip(paper.everything, mini.everything, strict=True):
        if task.generation is not None and other.generation is not None:
            assert {
                **other.generation.as_dict(),
                "max_new_tokens": 64,
            } == other.generation.as_dict()
            assert other.generation.as_dict() == {
                **task.generation.as_dict(),
                "max_new_tokens": 64,
            }
    assert mini.demonstration
    assert {paper.name, mini.name} < set(suite_names())


def test_items_that_share_their_text_are_known() -> None:
    """BBQ's families of templates, and the scenes of two of the ETHICS."""
    names = ("bbq_lite", "ethics_deontology", "ethics_virtue", "toxigen")
    assert [group_field(f"bfpo_{name}") for name in names] == [
        "group",
        "scenario",
        "scenario",
        None,
    ]


def test_part_of_a_suite() -> None:
    suite = load_suite("paper")
    assert [t.task for t in suite.only(["toxigen", "bfpo_advbench"]).tasks] == [
        "bfpo_toxigen",
        "bfpo_advbench",
    ]
    assert len(suite.only(["disc"]).tasks) == 12
    assert len(suite.only(["bfpo_gen", "toxigen"]).tasks) == 5
    for name in ("toxigne", "-toxigne"):
        with pytest.raises(BadInput, match="unknown task 'toxigne'; did you mean 'bfpo_toxigen'"):
            suite.only([name])
    with pytest.raises(BadInput, match="--tasks disc,-disc leaves no task of suite paper"):
        suite.only(["disc", "-disc"])


ALL = [task.task for task in load_suite("paper").tasks]


@pytest.mark.parametrize(
    ("typed", "tasks"),
    [
        ("", ALL),
        ("-toxigen", [task for task in ALL if task != "bfpo_toxigen"]),
        ("disc", ALL[:12]),
        ("-disc", ALL[12:]),
        ("disc,-moral_permissibility", [t for t in ALL[:12] if t != "bfpo_moral_permissibility"]),
        ("-bfpo_moral_permissibility , disc", [t for t in ALL[:12] if "permissibility" not in t]),
        ("disc,-toxigen,toxigen", [t for t in ALL[:12] if t != "bfpo_toxigen"]),
        ("gen,toxigen,-advbench", ["bfpo_toxigen", *(t for t in ALL[12:] if "advbench" not in t)]),
        ("disc,gen,alpaca,-alert", [*(t for t in ALL if t != "bfpo_alert"), "bfpo_alpaca_eval"]),
        ("alpaca", ["bfpo_alpaca_eval"]),
    ],
)
def test_a_minus_leaves_a_task_out(typed: str, tasks: list[str]) -> None:
    suite = load_suite("paper")
    options = EvaluateOptions(model="m", tasks=typed or ())  # type: ignore[arg-type]
    found = suite.only(options.tasks).everything if typed else suite.tasks
    assert [task.task for task in found] == tasks
    again = suite.typed(tasks)
    assert suite.only(again.split(",")).everything == tuple(found)
    assert again.count(",") <= (typed or "disc,gen").count(",")


SCORED = {
    "task": "bfpo_toxigen",
    "column": "Hate",
    "group": "disc",
    "metric": "acc_norm",
    "direction": "lower",
    "chat_template": True,
}
JUDGED = {**SCORED, "task": "bfpo_advbench", "group": "gen", "metric": "harmless", "generation": {}}


def load(tmp_path: Path, *tasks: Any, **changes: Any) -> Suite:
    path = tmp_path / "mine.yaml"
    suite = {"name": "x", "version": 1, "data": "mini", "judge": "keyword", "tasks": list(tasks)}
    content = {key: value for key, value in {**suite, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(content))
    return load_suite(str(path))


def test_a_suite_of_ones_own(tmp_path: Path) -> None:
    """A name alone, what goes before the task's YAML, and everything said as version 0.1 wanted."""
    drawn = {"temperature": 1, "top_p": 0.5, "max_new_tokens": 8, "stop": ["\n"]}
    suite = load(tmp_path, "bfpo_alert", SCORED, {**JUDGED, "generation": drawn})
    paper = {task.task: task for task in load_suite("paper").tasks}
    assert suite.tasks[0] == paper["bfpo_alert"]
    for name, value in SCORED.items():
        assert getattr(suite.tasks[1], name) == value
    assert [t.generation for t in suite.tasks[1:]] == [None, Sampling(8, 1.0, 0.5, ("\n",))]
    # What a task says of sampling is all of it; what the suite says is a change.
    [bare] = load(tmp_path, JUDGED).tasks
    assert bare.generation == Sampling(256, 0.0, 1.0, ())
    [cut, own] = load(
        tmp_path, "bfpo_advbench", {**JUDGED, "task": "bfpo_alert"}, generation={"top_p": 0.5}
    ).tasks
    assert (cut.generation, own.generation) == (Sampling(256, 0.7, 0.5, ()), bare.generation)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: x", ": 'version' is missing; add it."),
        ("nam: x", ": 'nam'; did you mean 'name'"),
        (": :", r"the suite .*mine\.yaml, line 1 is no YAML that can be read \(.*\); mend it"),
        ("a: \0", "unacceptable character|control characters"),
        ("[" * 100_000, "it is nested in more than 100 levels"),
        ("version: 2020-13-45", "'2020-13-45' is not what !!timestamp can be"),
        ("version: 1\nversion: 2", r"the field 'version' is there twice"),
        ("- a", r"mine\.yaml must be keys and values, not \['a'\]"),
        ("", r"mine\.yaml must be keys and values, not None"),
    ],
)
def test_files_that_are_no_suites(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=sentence):
        load_suite(str(path))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data": "big"}, "data: 'big'"),
        ({"tasks": []}, ", tasks must be a list of at least 1"),
        ({"name": 7}, ", name must be a text, not 7."),
        ({"version": "one"}, ", version must be a whole number, not 'one'."),
        ({"version": True}, ", version must be a whole number, not True."),
        ({"judge": ["a"]}, ", judge must be a text, not ['a']."),
        (
            {"tasks": [SCORED, JUDGED, SCORED]},
            ": the task 'bfpo_toxigen' stands twice in it; leave",
        ),
        ({"tasks": ["bfpo_toxigne"]}, "unknown task 'bfpo_toxigne'; did you mean 'bfpo_toxigen'"),
        ({"tasks": ["bfpo_disc"]}, "unknown task 'bfpo_disc'"),
        ({"like": "paper"}, "a suite lists its 'tasks' or says which suite it is 'like'; give one"),
        ({"tasks": None}, "a suite lists its 'tasks' or says which suite it is 'like'; give one"),
        (
            {"tasks": None, "like": "paper", "helpfulness": "bfpo_alpaca_eval"},
            "'helpfulness' is that of the suite it is 'like'; leave it out.",
        ),
        ({"tasks": None, "like": "papr"}, "unknown suite 'papr'; did you mean 'paper'"),
        ({"tasks": ["bfpo_alpaca_eval"]}, "'bfpo_alpaca_eval' is annotated and enters no average;"),
        (
            {"helpfulness": {"task": "bfpo_alert", "group": "helpfulness"}},
            ", helpfulness: 'metric' must be win_rate, not 'harmless'.",
        ),
        ({"helpfulness": "bfpo_alert"}, ", helpfulness: 'group' must be helpfulness, not 'gen'."),
        ({"tasks": [{**SCORED, "task": 1}]}, ", tasks[0], task must be a text, not 1."),
        (
            {"tasks": [{**SCORED, "chat_template": "no"}]},
            ", tasks[0], chat_template must be true or false, not 'no'.",
        ),
        ({"tasks": [{**SCORED, "group": "both"}]}, "group: 'both'"),
        ({"tasks": [{**SCORED, "direction": "up"}]}, "direction: 'up'"),
        (
            {"tasks": [{**SCORED, "generation": {}}]},
            ", task 1: a judged task (metric harmless or answered), and no other, has "
            "'generation'; the metric here is 'acc_norm'.",
        ),
        (
            {"tasks": [{**SCORED, "metric": "harmless"}]},
            ", task 1: a judged task (metric harmless or answered), and no other, has "
            "'generation'; the metric here is 'harmless'.",
        ),
        (
            {"generation": {"temperature": -1}},
            ", generation, temperature must be at least 0, not -1",
        ),
        ({"generation": {"temperature": "hot"}}, ", temperature must be a number, not 'hot'."),
        ({"generation": {"top_p": 0}}, ", top_p must be more than 0, not 0."),
        (
            {"generation": {"max_new_tokens": 1.5}},
            ", max_new_tokens must be a whole number, not 1.5",
        ),
        ({"generation": {"max_new_tokens": 0}}, ", max_new_tokens must be at least 1, not 0."),
        ({"generation": {"stop": "\n"}}, ", generation, stop must be a list, not '\\n'."),
        ({"generation": []}, ", generation must be keys and values, not []."),
    ],
)
def test_what_is_not_right_in_a_suite(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadInput) as caught:
        load(tmp_path, SCORED, **change)
    assert sentence in str(caught.value)


def test_suites_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown suite 'papr'; did you mean 'paper'"):
        load_suite("papr")
    with pytest.raises(BadInput, match=r"there is no suite file 'papr\.yaml'; give the path of"):
        load_suite("papr.yaml")
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    with pytest.raises(BadInput, match=r"^the suite file .* cannot be read \(Is a directory\)"):
        load_suite(str(folder))


def test_suites_are_joined_by_a_plus(tmp_path: Path) -> None:
    paper, balance = load_suite("paper"), load_suite("balance")
    both = load_suite("paper+balance")
    assert both.tasks == paper.tasks + balance.tasks
    assert (both.name, both.version, both.judge) == ("paper+balance", "1+1", paper.judge)
    assert both.helpfulness == paper.helpfulness
    assert both.averaged() == {
        "disc": "paper 1", "gen": "paper 1", "harm": "balance 1", "answ": "balance 1",
    }  # fmt: skip
    assert load_suite("balance+multilingual").averaged()["harm"] == "balance 1 + multilingual 1"
    assert len(both.only(["harm", "answ"]).tasks) == 11
    assert both.typed([task.task for task in paper.tasks]) == "disc,gen"
    own = tmp_path / "mine+yours" / "own.yaml"
    own.parent.mkdir()
    suite = {"name": "own", "version": 1, "data": "real", "judge": "keyword"}
    own.write_text(yaml.safe_dump({**suite, "tasks": ["bfpo_toxigen"]}))
    # A task that both ask alike is there once.
    assert load_suite(f"paper+{own}").tasks == paper.tasks
    twice = [{"task": "bfpo_toxigen", "chat_template": True}]
    own.write_text(yaml.safe_dump({**suite, "tasks": twice}))
    for name, sentence in (
        (
            f"paper+{own}",
            "the suites of paper+own have the task 'bfpo_toxigen' in common, with different "
            "settings (chat_template); evaluate them one at a time.",
        ),
        (
            "paper+mini-balance",
            "suite paper has real data and suite mini-balance mini data; join suites of one kind, "
            "such as paper+balance or mini+mini-balance.",
        ),
        ("paper+balanse", "unknown suite 'balanse'; did you mean 'balance'?"),
    ):
        with pytest.raises(BadInput) as caught:
            load_suite(name)
        assert sentence in str(caught.value)
