"""The task folder as lm-eval sees it: names, groups, versions; and a task added from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from bfpo_bench.data import load_source
from bfpo_bench.suites import TASKS_FOLDER, load_suite
from bfpo_bench.tasks.catalog import find_source
from bfpo_bench.tasks.rows import dataset, document

from .conftest import ANSW, APART, DISC, GEN, HARM, MULTIJAIL, load_task, requests

GROUPS = {"disc": DISC, "gen": GEN, "harm": HARM, "answ": ANSW, "multijail": MULTIJAIL}


@pytest.fixture(scope="module")
def loaded() -> dict[str, Any]:
    """All groups on the mini items."""
    manager = TaskManager(
        include_path=TASKS_FOLDER, include_defaults=False, metadata={"mini": True}
    )
    return dict(manager.load([f"bfpo_{name}" for name in GROUPS]))


def test_the_folder_holds_40_tasks_and_5_groups_and_nothing_else() -> None:
    manager = TaskManager(include_path=TASKS_FOLDER, include_defaults=False)
    single = ["bfpo_alpaca_eval", *APART]
    assert manager.all_subtasks == sorted([*DISC, *GEN, *HARM, *ANSW, *MULTIJAIL, *single])
    assert len(manager.all_subtasks) == 40
    groups = ["bfpo_answ", "bfpo_disc", "bfpo_gen", "bfpo_harm", "bfpo_multijail"]
    assert manager.all_groups == groups
    assert manager.all_tags == []
    assert {path.stem for path in TASKS_FOLDER.glob("*.yaml")} == set(manager.all_tasks)


def test_groups_hold_their_tasks_in_the_table_s_order(loaded: dict[str, Any]) -> None:
    assert loaded["group_map"] == {f"bfpo_{name}": tasks for name, tasks in GROUPS.items()}
    assert list(loaded["tasks"]) == [task for tasks in GROUPS.values() for task in tasks]
    suites = {"paper": [*DISC, *GEN], "balance": [*HARM, *ANSW, *APART], "multilingual": MULTIJAIL}
    for name, tasks in suites.items():
        assert [task.task for task in load_suite(name).tasks] == tasks


def test_every_task_and_group_has_a_version(loaded: dict[str, Any]) -> None:
    for task in loaded["tasks"].values():
        assert isinstance(task.VERSION, int)
    for group in loaded["groups"].values():
        assert group.version.isdigit()


def test_every_row_has_an_id_of_its_own(loaded: dict[str, Any]) -> None:
    for name, task in loaded["tasks"].items():
        ids = task.eval_docs["item_id"]
        assert len(set(ids)) == len(ids) >= 24, name


def test_disc_averages_plainly_and_keeps_crows_pairs_apart(loaded: dict[str, Any]) -> None:
    """Made-up scores; the group's `acc` is over 11 tasks, so Disc. takes both numbers."""
    metrics: dict[str, Any] = {
        name: {"acc,none": i / 100, "acc_stderr,none": 0.01, "sample_len": 10**i}
        for i, name in enumerate(DISC)
    }
    metrics["bfpo_crows_pairs"] = {"pct_stereotype,none": 0.6, "sample_len": 10}
    group = loaded["groups"]["bfpo_disc"].aggregate(metrics)
    assert group["acc,none"] == pytest.approx(sum(range(1, 12)) / 11 / 100)
    assert group["pct_stereotype,none"] == 0.6
    disc = (11 * group["acc,none"] + group["pct_stereotype,none"]) / 12
    assert disc == pytest.approx((0.66 + 0.6) / 12)


def test_there_is_no_score_without_a_judge(loaded: dict[str, Any]) -> None:
    assert [name for name in GROUPS if loaded["groups"][f"bfpo_{name}"].has_aggregation] == ["disc"]


NEW_TASK = """\
task: my_ethics
custom_dataset: !function bfpo_bench.tasks.rows.dataset
dataset_kwargs:
  source: ethics_commonsense
test_split: test
output_type: multiple_choice
doc_to_text: "{{input}} Is that fine?"
doc_to_choice: ["yes", "no"]
doc_to_target: label
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1
"""


def test_a_task_is_added_by_one_yaml_anywhere(tmp_path: Path) -> None:
    (tmp_path / "my_ethics.yaml").write_text(NEW_TASK, encoding="utf-8")
    manager = TaskManager(
        include_path=[TASKS_FOLDER, tmp_path], include_defaults=False, metadata={"mini": True}
    )
    task = manager.load(["my_ethics"])["tasks"]["my_ethics"]
    ours = load_task("bfpo_ethics_cm", mini=True)
    assert task.eval_docs["item_id"] == ours.eval_docs["item_id"]
    first = ours.eval_docs[0]["input"]
    assert requests(task)[:2] == [
        (0, 0, "loglikelihood", (f"{first} Is that fine?", " yes")),
        (0, 1, "loglikelihood", (f"{first} Is that fine?", " no")),
    ]


def test_documents_made_without_lm_eval_are_those_it_reads(loaded: dict[str, Any]) -> None:
    """`evaluate` makes them of the source's rows and lets lm-eval read the first one only."""
    specs = [t for suite in ("paper", "balance", "multilingual") for t in load_suite(suite).tasks]
    for spec in (spec for spec in specs if spec.group != "apart"):
        name, source, task = spec.task, spec.source, loaded["tasks"][spec.task]
        rows = load_source(find_source(source), mini=True).rows
        ids = find_source(source).ids(rows)
        ours = [document(row, item) for row, item in zip(rows, ids, strict=True)]
        assert ours == task.eval_docs.to_list(), name
        [first] = dataset(source, documents={source: ours[0]})["test"].to_list()
        assert first == ours[0], name
