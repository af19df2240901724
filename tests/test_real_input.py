"""The whole path on real data: hf, vLLM and stock lm-eval give the same scores.

A tiny random Llama, every task whose data is at hand (12 of 16), a seeded sample of each, judged
by the toy judge through the classifier path.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.run.results import Results
from tests.crash.attempts import Driver
from tests.crash.killing import finish

pytestmark = pytest.mark.slow

TASKS = (
    *("crows_pairs", "bbq_lite", "winogrande", "ethics_cm", "ethics_justice"),
    *("ethics_deontology", "ethics_utilitarianism", "ethics_virtue", "toxigen", "hhh_alignment"),
    *("advbench", "realtoxicityprompts"),
)
Scores = dict[tuple[str, str, int], tuple[str, str, float, bool]]


def scores(run: Path) -> Scores:
    query = "SELECT task, item, choice, context, continuation, loglikelihood, is_greedy FROM scores"
    with sqlite3.connect(run / "samples.sqlite") as db:
        found = {row[:3]: (row[3], row[4], row[5], bool(row[6])) for row in db.execute(query)}
    db.close()
    return found


def asked(run: Path, model: Path, judge: Path, data_dir: Path, backend: str) -> dict[str, Any]:
    """Options of ``evaluate``, in types that JSON has."""
    return {
        "model": str(model),
        "output": str(run),
        "tasks": TASKS,
        "limit": 25,
        "backend": backend,
        "data_dir": str(data_dir),
        "variants": {"crows_pairs": "original", "toxigen": "train-sample"},
        # The local copy of RealToxicityPrompts lacks 3 of its 1199 rows.
        "allow_unpinned": True,
        "judge": str(judge / "toy.yaml"),
    }


@pytest.fixture(scope="module")
def with_hf(
    tiny_llama: Path, toy_judge: Path, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Results]:
    run = tmp_path_factory.mktemp("real") / "hf"
    return run, bfpo_bench.evaluate(**asked(run, tiny_llama, toy_judge, data_dir, "hf"))


def test_every_task_at_hand_is_there_and_marked(with_hf: tuple[Path, Results]) -> None:
    _, results = with_hf
    assert set(results.tasks) == {f"bfpo_{task}" for task in TASKS}
    assert all(task.n == 25 for task in results.tasks.values())
    assert results.tasks["bfpo_bbq_lite"].items == 16_076
    assert results.tasks["bfpo_bbq_lite"].source["status"] == "pinned"
    assert results.tasks["bfpo_realtoxicityprompts"].source["status"] == "differs"
    assert results.averages["disc"].missing == ["Moral Permissibility", "Simple Ethical Questions"]
    assert results.averages["gen"].missing == ["ALERT", "ALERT Adversarial"]
    marked = " ".join(results.marks)
    assert "1508" in marked
    assert "1196" in marked


def test_scores_are_lm_evals(with_hf: tuple[Path, Results], tiny_llama: Path) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    ours = scores(with_hf[0])
    stock = HFLM(str(tiny_llama), device="cpu", dtype="float32", batch_size=16)
    theirs = stock.loglikelihood(
        [Instance("loglikelihood", {}, row[:2], 0) for row in ours.values()], disable_tqdm=True
    )
    for (_, _, loglikelihood, greedy), (expected, expected_greedy) in zip(
        ours.values(), theirs, strict=True
    ):
        assert loglikelihood == pytest.approx(expected, rel=1e-5, abs=1e-3)
        assert greedy == expected_greedy


@pytest.mark.vllm
def test_vllm_agrees(
    with_hf: tuple[Path, Results],
    vllm_driver: Driver,
    tiny_llama: Path,
    toy_judge: Path,
    data_dir: Path,
    tmp_path: Path,
) -> None:
    run = tmp_path / "vllm"
    options = asked(run, tiny_llama, toy_judge, data_dir, "vllm")
    finish(vllm_driver, options, fork_engine=True)
    results = bfpo_bench.evaluate(**options)  # it is finished, and read
    ours, theirs = scores(with_hf[0]), scores(run)
    assert ours.keys() == theirs.keys()
    for key, (context, continuation, loglikelihood, _) in ours.items():
        assert theirs[key][:2] == (context, continuation)
        assert theirs[key][2] == pytest.approx(loglikelihood, rel=1e-4, abs=1e-2)
    for name, task in results.tasks.items():
        if task.group == "disc":
            assert task.score == pytest.approx(with_hf[1].tasks[name].score)
        else:
            assert task.unknown == 0
