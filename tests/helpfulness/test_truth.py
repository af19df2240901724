"""The world's truth in the place of an annotator: the demo's Alpaca column."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import bfpo_bench
from bfpo_bench.run.results import Results, read_results
from bfpo_bench.run.store import Store
from bfpo_bench.toy_world.grammar import ask
from bfpo_bench.toy_world.ground_truth import Split, helpfulness, requests
from bfpo_bench.toy_world.truth import (
    ANNOTATOR,
    annotation_records,
    truthful_annotations,
    with_helpfulness,
)
from tests.leaderboard.synthetic import synthetic_run


@pytest.fixture
def results() -> Results:
    return Results(1, "0", {"name": "m"}, {}, "hf", None, 0, None, {}, {}, ["own"])


def test_the_more_helpful_answer_wins(results: Results) -> None:
    rng = random.Random(0)
    prompts = [ask(rng, one) for one in requests(Split.TEST, False)[:8]]
    known = [f"Sure, {prompt}" for prompt in prompts]
    nothing = ["I will not."] * 8
    gains = [helpfulness(p, one) > 0 for p, one in zip(prompts, known, strict=True)]
    assert any(gains)
    wins = truthful_annotations(prompts, nothing, known, ("sft", "mine"))
    losses = truthful_annotations(prompts, known, nothing, ("sft", "mine"))
    assert [a.preference for a in wins] == [2.0 if gain else 1.5 for gain in gains]
    assert [a.preference for a in losses] == [1.0 if gain else 1.5 for gain in gains]
    draws = truthful_annotations(prompts, known, known, ("sft", "sft"))
    found = with_helpfulness(results, draws, 0)
    assert found.helpfulness is not None
    assert (found.helpfulness.win_rate, found.helpfulness.n) == (50.0, 8)
    assert (found.helpfulness.annotator, found.helpfulness.reference) == (ANNOTATOR, "sft")


def test_the_marks_say_so_once(results: Results) -> None:
    draws = truthful_annotations(["?"] * 30, ["a"] * 30, ["a"] * 30, ("sft", "sft"))
    once = with_helpfulness(results, draws, 0)
    assert once.marks[0] == "own"
    assert any("toy world's truth" in mark for mark in once.marks)
    assert with_helpfulness(once, draws, 0) == once


def test_a_row_of_the_worlds_truth_passes_the_check(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", tasks=("toxigen",))
    found = truthful_annotations(["?"] * 30, ["a"] * 30, ["a"] * 30, ("sft", "mine"))
    row = with_helpfulness(read_results(run / "results.json"), found, 0)
    (run / "results.json").write_text(row.to_json())
    [entry] = bfpo_bench.leaderboard(run).entries
    assert "Alpaca has 0 annotations" in (entry.fault or "")
    with Store(run / "samples.sqlite") as store:
        store.add_annotations(annotation_records(found))
        # Made again, they are the same.
        store.add_annotations(annotation_records(found))
    [entry] = bfpo_bench.leaderboard(run).entries
    assert entry.fault is None
    assert entry.cells["alpaca"].value == 50
    assert entry.cells["alpaca"].marks[0].startswith("raw win rate by annotator the toy world")
