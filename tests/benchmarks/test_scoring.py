"""The scoring benchmark runs through, and its engines agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import scoring
from benchmarks.counting import count
from benchmarks.items import read_items
from benchmarks.scoring_report import COLUMNS, largest_difference
from bfpo_bench.engines.protocol import ScoreRequest

# Mini items are bundled, whatever data is at hand.
TASKS = ("moral_permissibility", "simple_ethical_questions")

HEAVY = ("lm_eval.models.huggingface", "bfpo_bench.engines.hf.engine", "transformers.models.llama")


def table(page: str) -> list[dict[str, str]]:
    """The rows of a page's first table, by column; of two columns of one name the last."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    wide = [row for row in cells if len(row) == len(COLUMNS)]
    return [dict(zip(wide[0], row, strict=True)) for row in wide[2:]]


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_page_is_written_and_scores_agree(tmp_path: Path) -> None:
    arguments = [
        *("--model", "tiny", "--limit", "4", "--repeats", "1", "--harness-batch", "4"),
        *("--models", str(tmp_path / "models"), "--output", str(tmp_path), "--memory", "4"),
    ]
    assert scoring.main([*arguments, "--tasks", *TASKS]) == 0
    page = (tmp_path / "scoring-tiny-cpu.md").read_text(encoding="utf-8")
    rows = table(page)
    assert {row["task"].strip("*") for row in rows} >= {*TASKS, "all tasks"}
    ours = [row for row in rows if row["engine"] == "ours" and row["answers that differ"]]
    assert len(ours) == len(TASKS) + 1
    for row in ours:
        assert float(row["largest difference"]) < 1e-4
        assert row["answers that differ"] == "0"
        assert float(row["asked / computed"]) > 1
        assert float(row["peak MiB"].replace(",", "")) > 100
    assert "torch" in page
    assert "--limit 4" in page


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
