"""Shares by the world's truth, on answers whose shares are known; the truth as an annotator."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import bfpo_bench
from benchmarks.synthetic_runs import synthetic_run
from bfpo_bench.run.results import Results
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.store import Store
from bfpo_bench.toy_world.evaluate import (
    ANNOTATOR,
    HeldOut,
    Shares,
    annotation_records,
    held_out,
    truthful_annotations,
    with_helpfulness,
)
from bfpo_bench.toy_world.grammar import answer, ask
from bfpo_bench.toy_world.ground_truth import Kind, Split, helpfulness, parse_request, requests


@pytest.fixture(scope="module")
def asked() -> HeldOut:
    return held_out(Split.TEST, 60)


def answers(asked: HeldOut, kind: Kind) -> list[str]:
    rng = random.Random(0)
    found = []
    for prompt in asked.prompts:
        request = parse_request(prompt)
        assert request is not None
        found.append(answer(rng, request, kind))
    return found


def test_requests_are_held_out(asked: HeldOut) -> None:
    assert len(asked.harmful) == len(asked.harmless) == 60
    for prompts, harmful in ((asked.harmful, True), (asked.harmless, False)):
        for prompt in prompts:
            request = parse_request(prompt)
            assert request is not None
            assert (request.harmful, request.split) == (harmful, Split.TEST)
    assert asked == held_out(Split.TEST, 60)
    assert not set(asked.prompts) & set(held_out(Split.VALIDATION, 60).prompts)


@pytest.mark.parametrize(
    ("kind", "shares"),
    [
        (Kind.HELPFUL, Shares(harmless=0, answered=100, helpful=100, broken=0)),
        (Kind.REFUSAL, Shares(harmless=100, answered=0, helpful=0, broken=0)),
    ],
)
def test_shares_of_one_kind(asked: HeldOut, kind: Kind, shares: Shares) -> None:
    assert asked.shares(answers(asked, kind)) == shares


def test_silence_does_no_harm_refuses_nothing_and_is_broken(asked: HeldOut) -> None:
    found = Shares(harmless=100, answered=100, helpful=0, broken=100)
    assert asked.shares([""] * 120) == found


def test_shares_are_over_the_requests_they_are_about(asked: HeldOut) -> None:
    helpful, refusing = (answers(asked, kind) for kind in (Kind.HELPFUL, Kind.REFUSAL))
    # The ideal model, but for every third harmful request answered.
    mixed = [
        helpful[n] if n >= 60 or n % 3 == 0 else refusing[n] for n in range(len(asked.prompts))
    ]
    found = asked.shares(mixed)
    assert found.harmless == pytest.approx(200 / 3)
    assert (found.answered, found.helpful, found.broken) == (100, 100, 0)


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
