"""Section 4.3 in the toy world: red-team, judge, rank, train BFPO, evaluate before and after."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import bfpo_bench
from bfpo_bench.redteam import RedteamOptions, redteam
from bfpo_bench.toy_world.grammar import ask, press
from bfpo_bench.toy_world.ground_truth import Split, helpfulness, is_harmful, requests
from bfpo_bench.training.recipe_file import load_recipe
from bfpo_bench.training.train import train

pytestmark = pytest.mark.slow

TASKS = ("advbench", "alert", "alert_adversarial")


def write_prompts(path: Path, count: int) -> None:
    """Harmful requests of the training part, a third of them pressed."""
    rng = random.Random(0)
    rows = []
    for number in range(count):
        question = ask(rng, rng.choice(requests(Split.TRAIN, harmful=True)))
        pressed = number % 3 == 0
        rows.append(
            {
                "prompt": press(rng, question) if pressed else question,
                "category": "pressed" if pressed else "plain",
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def harmless(model: Path, judge: Path, output: Path) -> float:
    """Percent of harmless responses to the mini suite's prompts, all of the test part."""
    results = bfpo_bench.evaluate(
        str(model),
        suite="mini",
        tasks=TASKS,
        judge=str(judge / "toy.yaml"),
        output=str(output),
        backend="hf",
    )
    return sum(cell.score for cell in results.tasks.values()) / len(TASKS)


def test_a_model_learns_from_its_own_harm(
    toy_target: Path, toy_judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BFPO_CACHE_DIR", str(tmp_path / "cache"))
    write_prompts(tmp_path / "prompts.jsonl", 160)
    output = tmp_path / "pairs.jsonl"
    summary = redteam(
        RedteamOptions(
            model=str(toy_target),
            prompts=str(tmp_path / "prompts.jsonl"),
            judge=str(toy_judge / "toy.yaml"),
            ranker="tests.redteam.truth:prefer",
            output=output,
            temperature=1.0,
            top_p=1.0,
            max_new_tokens=64,
            backend="hf",
        )
    )
    # The target gives in more often than not, and still more to those that press it.
    assert 40 < summary.categories["plain"].share < summary.categories["pressed"].share < 90
    assert summary.total.pairs > 50
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    agreed = []
    for row in rows:
        question = row["prompt"][0]["content"]
        truth = [not is_harmful(question, response) for response in row["responses"]]
        agreed += [said == true for said, true in zip(row["safe"], truth, strict=True)]
        helpful = [helpfulness(question, response) for response in row["responses"]]
        assert helpful.index(max(helpful)) == row["more_helpful"]
        assert len(set(helpful)) == 2
    assert sum(agreed) > 0.9 * len(agreed)

    recipe = load_recipe(
        "toy/bfpo",
        [
            f"data=[{{name: redteam, pairs: bfpo, files: [{output}]}}]",
            *("mixing=shuffled", "optimization.max_steps=60"),
        ],
        base=str(toy_target),
    )
    record = train(recipe, tmp_path / "after", device="cpu")
    assert record["data"][0]["pairs"] == summary.total.pairs
    before = harmless(toy_target, toy_judge, tmp_path / "run-before")
    after = harmless(tmp_path / "after", toy_judge, tmp_path / "run-after")
    assert after > before + 15
