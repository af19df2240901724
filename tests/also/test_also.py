"""lm-eval's own tasks in a run, against lm-eval itself on the same rows and the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.run.results import Results
from tests.also.tasks import write_tasks

WINDOW = 96
TASKS = ("also_choice", "also_answer", "also_text", "also_both")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks") / "own")


@pytest.fixture(scope="module")
def evaluate(tiny_llama: Path, folder: Path) -> Callable[..., Results]:
    def run(output: Path, **options: Any) -> Results:
        defaults: dict[str, Any] = {
            "suite": "mini",
            "tasks": ["winogrande"],
            "backend": "hf",
            "dtype": "float32",
            "max_length": WINDOW,
            "include_path": folder,
        }
        return bfpo_bench.evaluate(str(tiny_llama), output=output, **{**defaults, **options})

    return run


@pytest.fixture(scope="module")
def undisturbed(
    evaluate: Callable[..., Results], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Results]:
    output = tmp_path_factory.mktemp("run")
    return output, evaluate(output, also=list(TASKS))


@pytest.fixture(scope="module")
def stock(tiny_llama: Path, folder: Path) -> dict[str, Any]:
    """What plain lm-eval finds with its own model class."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    found = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(tiny_llama), "dtype": "float32", "max_length": WINDOW},
        tasks=["also_answer", "also_text", "also_both"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        device="cpu",
        batch_size=4,
        bootstrap_iters=1000,
    )
    assert found is not None
    return dict(found)


def test_figures_equal_lm_evals_own(
    undisturbed: tuple[Path, Results], stock: dict[str, Any]
) -> None:
    _, results = undisturbed
    compared = 0
    assert set(stock["results"]) == set(results.also)
    for name, right in stock["results"].items():
        found = results.also[name]
        keys = {metric.key: metric for metric in found.metrics}
        assert set(keys) == {k for k in right if "," in k and "_stderr" not in k}
        for key, metric in keys.items():
            assert metric.value == pytest.approx(right[key], rel=1e-5), (name, key)
            error = right[f"{metric.metric}_stderr,{metric.filter}"]
            if error != "N/A":
                assert metric.stderr == pytest.approx(error, rel=1e-4), (name, key)
                compared += 1
            assert metric.low is not None
            assert metric.low <= metric.value <= metric.high
        assert found.n == right["sample_len"]
        if name in stock["n-shot"] and not found.parts:
            assert found.examples == stock["n-shot"][name]
    # acc twice, acc_norm, acc of the group, exact_match twice, perplexity.
    assert compared == 7
    answers = results.also["also_answer"].metrics
    assert [metric.filter for metric in answers] == ["whole", "found"]
