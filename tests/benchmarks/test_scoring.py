"""What the scoring benchmark asks and counts; test_gpu.py runs it."""

from __future__ import annotations

import pytest

from benchmarks import scoring
from benchmarks.counting import count
from benchmarks.items import read_items
from benchmarks.scoring_report import largest_difference
from bfpo_bench.engines.protocol import ScoreRequest


def test_a_judged_task_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert scoring.main(["--tasks", "advbench"]) == 2
    assert "bfpo_advbench is judged" in capsys.readouterr().err


def test_outcomes_are_lm_evals_accuracies() -> None:
    [asked] = read_items(["moral_permissibility"], None, 3, 0, False)
    # The first choice of each item is by far the likelier one.
    answers = [(-1.0 - 9.0 * (i % 2), False) for i in range(len(asked.requests))]
    gold = [row["scores"].index(1) for _, _, row in asked.plan.items()]
    assert asked.outcomes(answers) == [float(index == 0) for index in gold]


def test_counts_by_hand() -> None:
    class Characters:
        """One token per character."""

        bos_token = None
        bos_token_id = eos_token_id = 0

        def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, object]:
            return {"input_ids": [[ord(c) for c in text] for text in texts]}

    found = count(Characters(), [ScoreRequest("abc", "de", 0), ScoreRequest("abc", "x", 0)])
    # Fed are abcd and abc; asked about are the places c (twice) and d.
    assert (found.asked, found.tree, found.pairs, found.predictions) == (7, 4, 10, 2)


def test_differences_are_relative_from_one_nat_on() -> None:
    assert largest_difference([(-0.1, True), (-20.0, True)], [(-0.2, True), (-10.0, True)]) == 1.0
    assert largest_difference([(-0.5, True)], [(-0.25, True)]) == 0.25
