"""A benchmark from outside the package: one module and one YAML, in a suite of one's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.evaluation.rejudge import judge_run
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.run.outcomes import item_groups
from bfpo_bench.run.store import Store
from bfpo_bench.suites import load_suite
from bfpo_bench.suites.task_file import read_task
from bfpo_bench.tasks.requests import load_tasks

from .conftest import requests

OUTSIDE = Path(__file__).with_name("outside")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The benchmark, anywhere."""
    return Path(shutil.copytree(OUTSIDE, tmp_path / "anywhere"))


def test_it_is_small_and_in_the_documentation() -> None:
    module, task = ((OUTSIDE / name).read_text() for name in ("sums.py", "sums.yaml"))
    assert len((module + task).splitlines()) < 60
    told = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text()
    assert module in told
    assert task in told


def test_the_suite_of_the_documentation(folder: Path) -> None:
    """Every key that a suite may have."""
    told = (Path(__file__).parents[2] / "docs" / "suites.md").read_text()
    text = told.split("```yaml\n")[1].split("```")[0].replace("../my-tasks/", "")
    (folder / "told.yaml").write_text(text)
    suite = load_suite(str(folder / "told.yaml"))
    assert [task.column for task in suite.everything] == [
        *("ToxiGen", "Sums", "AdvBench, greedy"),
        "Alpaca",
    ]
    assert suite.tasks[2].generation == Sampling(512)


def test_it_is_evaluated_and_stands_in_the_table(folder: Path, tiny_llama: Path) -> None:
    run = folder / "run"
    options = {"output": run, "backend": "hf", "dtype": "float32", "judge_anyway": True}
    results = bfpo_bench.evaluate(str(tiny_llama), suite=str(folder / "suite.yaml"), **options)
    sums, stories = results.tasks["sums"], results.tasks["stories"]
    assert (sums.n, sums.column, sums.group, sums.source["status"]) == (
        4,
        "Sums",
        "disc",
        "unverified",
    )
    assert (stories.n, stories.group, stories.version) == (4, "gen", 3)
    assert "| Sums |" in (run / "table.md").read_text()
    board = bfpo_bench.leaderboard(run)
    assert "Sums" in str(board)
    with Store(run / "samples.sqlite", read_only=True) as store:
        assert sorted((item_groups(store, "sums") or {}).values()) == ["1", "1", "2", "2"]
        assert item_groups(store, "stories") is None
    # Whoever judges the saved responses later knows what the prompts are.
    with pytest.raises(BadInput, match="holds only responses that judge keyword is not made for"):
        judge_run(run, choose_judge(JudgeOptions("keyword", backend="hf")))


def test_lm_eval_alone_reads_it_too(folder: Path) -> None:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    task = manager.load(["sums"])["tasks"]["sums"]
    assert requests(task)[:2] == [
        (0, 0, "loglikelihood", ("Is 1 + 1 = 2 right?\nAnswer:", " no")),
        (0, 1, "loglikelihood", ("Is 1 + 1 = 2 right?\nAnswer:", " yes")),
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        (
            "sums.yaml",
            "sums.rows",
            "suns.rows",
            "'suns.rows' and the functions beside it cannot be",
        ),
        ("sums.yaml", "sums.rows", "sums.prompt", "sums.prompt, which says nothing of its source"),
        ("sums.py", "import Path", "import Pfad", "cannot be had (ImportError: cannot import name"),
        (
            "sums.yaml",
            "{version: 1, column: Sums}",
            "{}",
            ", metadata: 'version' is missing; add it",
        ),
        ("sums.yaml", "task: sums", "tusk: sums", "sums.yaml: 'task' is missing; add it"),
        ("sums.yaml", "Sums}", "Sums, direction: up}", "direction: 'up'"),
        ("suite.yaml", "sums.yaml,", "gone.yaml,", "cannot be read (No such file or directory)"),
        ("suite.yaml", "data: real", "data: mini", "source 'sums' has no bundled items; its task"),
    ],
)
def test_what_is_wrong_with_it_is_one_sentence(
    folder: Path, file: str, old: str, new: str, sentence: str
) -> None:
    path = folder / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(BadInput) as caught:
        load_tasks(load_suite(str(folder / "suite.yaml")))
    assert sentence in str(caught.value)


def test_a_task_s_yaml_can_include_another_as_in_lm_eval(tmp_path: Path) -> None:
    """Own keys go before the other's, metadata as a whole."""
    base = {"output_type": "generate_until", "custom_dataset": "a.b", "metadata": {"version": 3}}
    base["metric_list"] = [{"metric": "bypass"}]  # type: ignore[assignment]
    (tmp_path / "base").write_text(yaml.safe_dump(base))
    own = {"include": "base", "task": "mine", "metadata": {"version": 2, "metric": "answered"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own))
    task = read_task(tmp_path / "mine.yaml")
    assert (task.task, task.version, task.source, task.group) == ("mine", 2, "a.b", "answ")
    (tmp_path / "base").write_text("include: mine.yaml\n")
    with pytest.raises(BadInput, match=r"mine.yaml includes itself, by .*base; mend the task"):
        read_task(tmp_path / "mine.yaml")
    (tmp_path / "base").unlink()
    with pytest.raises(BadInput, match=r"the task file .*base cannot be read \(No such file"):
        read_task(tmp_path / "mine.yaml")
