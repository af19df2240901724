"""Helpfulness without an annotator: reward models and checkable constraints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bfpo_bench.cli.app import app
from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.data import load_source
from bfpo_bench.helpfulness.annotation import TASK
from bfpo_bench.helpfulness.metrics import stored_means
from bfpo_bench.helpfulness.rewards import CHECKS, constraints_met, mean_reward, meets
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.store import ItemRecord, ResponseRecord, Store, answer_key
from bfpo_bench.tasks.alpaca_eval import SOURCE
from tests.engines.test_reward_model import PROMPTS, RESPONSES, alone, classifier


def mini() -> list[dict[str, Any]]:
    return load_source(SOURCE, mini=True).rows


def test_the_bundled_references_meet_their_constraints() -> None:
    kinds = set()
    for row in mini():
        assert meets(row["constraint"], row["reference_output"]), row["instruction"]
        assert not meets(row["constraint"], " \n ")
        kinds.add(row["constraint"]["kind"])
    assert kinds == set(CHECKS)


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        ({"kind": "max_words", "value": 2}, "one  two\n", "one two three"),
        ({"kind": "min_words", "value": 2}, "one two", "one-two"),
        ({"kind": "contains", "text": "Kettle"}, "my KETTLE!", "my ket tle"),
        ({"kind": "not_contains", "text": "!"}, "Hush.", "Hush!"),
        ({"kind": "starts_with", "text": "First,"}, "  First, go", "first, go"),
        ({"kind": "ends_with", "text": "fine."}, "You do fine.\n", "You do fine. Bye."),
        ({"kind": "line_count", "value": 2}, "a\n\nb", "a\nb\nc"),
        ({"kind": "all_lowercase"}, "größe 12", "größE"),
        ({"kind": "all_lowercase"}, "a", "12"),
        ({"kind": "all_uppercase"}, "STOP 2!", "STOp"),
        ({"kind": "is_json"}, '{"a": [1]}', '"a"'),
        ({"kind": "is_json"}, "[]", "[NaN]"),
        ({"kind": "is_json"}, "[1]", "```json\n[1]\n```"),
        ({"kind": "is_json"}, "[" * 9 + "]" * 9, "[" * 100_000),
        ({"kind": "is_number", "value": 42}, " 42.0", "42 eggs"),
        ({"kind": "is_number", "value": 0.5}, ".5", "1/2"),
        ({"kind": "is_number", "value": -3}, "-3", "٣"),
        ({"kind": "is_number", "value": 42}, "42", "0042" * 99_999),
    ],
)
def test_constraints(constraint: dict[str, Any], good: str, bad: str) -> None:
    assert meets(constraint, good)
    assert not meets(constraint, bad)
    assert not meets(constraint, "")


def test_bad_constraints() -> None:
    with pytest.raises(BadInput, match="unknown kind of constraint 'max_word'"):
        meets({"kind": "max_word", "value": 3}, "x")
    with pytest.raises(BadInput, match="has not the parameters of its kind"):
        meets({"kind": "max_words"}, "x")


def made_run(path: Path, rows: list[dict[str, Any]], responses: list[str]) -> Path:
    """A run directory with these instructions and responses."""
    identity = {"model": {"name": "m"}, "tasks": {TASK: {}}, "data": {}}
    with RunDirectory(path, identity) as run, run.open_store() as store:
        for n, (row, response) in enumerate(zip(rows, responses, strict=True)):
            item = f"item{n:03d}"
            store.add_items([ItemRecord(TASK, item, n, json.dumps(row))])
            key = answer_key(item, response)
            question = row["instruction"]
            more = ("stop", 0, 1, 1, 0)
            record = ResponseRecord(key, TASK, item, question, question, response, *more)
            store.add_responses([record])
    return path


def test_share_of_constraints_met(tmp_path: Path) -> None:
    rows = mini()
    answers = [row["reference_output"] for row in rows]
    answers[:5] = [""] * 5
    run = made_run(tmp_path / "run", rows, answers)
    found = constraints_met(run)
    assert found.mean == pytest.approx((len(rows) - 5) / len(rows))
    assert found.low < found.mean < found.high < 1
    assert (found.metric, found.n) == ("constraint_met", len(rows))
    assert stored_means(run) == [found]
    done = CliRunner().invoke(app, ["helpfulness", "constraints", str(run)])
    assert f"constraint_met: {found.mean:.4f}, 95 % interval" in done.output


def test_runs_without_constraints_or_responses(tmp_path: Path) -> None:
    rows = [{"instruction": "Say hello."}]
    with pytest.raises(BadInput, match="have no checkable constraints; those of --suite mini"):
        constraints_met(made_run(tmp_path / "one", rows, ["Hello."]))
    with pytest.raises(BadInput, match=r"nothing to rate: .* holds no responses to AlpacaEval's"):
        constraints_met(made_run(tmp_path / "two", [], []))


def test_mean_reward_is_that_of_each_response_alone(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = classifier(tmp_path / "reward", tiny_llama, outputs=2)
    rows = [{"instruction": prompt[-1][1]} for prompt in PROMPTS if len(prompt) == 1]
    answers = [r for p, r in zip(PROMPTS, RESPONSES, strict=True) if len(p) == 1]
    run = made_run(tmp_path / "run", rows, answers)
    monkeypatch.setattr("bfpo_bench.engines.reward_model.BATCH", 1)
    found = mean_reward(run, str(model), objective="1")
    single = [n for n, prompt in enumerate(PROMPTS) if len(prompt) == 1]
    assert found.mean == pytest.approx(float(alone(model)[single, 1].mean()), abs=1e-5)
    assert found.low <= found.mean <= found.high
    assert found.metric.startswith("reward:reward@")
    assert found.n == 2
    # What is rated is not rated again: the second call loads nothing.
    monkeypatch.setattr("bfpo_bench.engines.reward_model.RewardModel", None)
    assert mean_reward(run, str(model), objective="1") == found
    asked = ["--reward-model", str(model), "--objective", "1", "--device", "cpu"]
    done = CliRunner().invoke(app, ["helpfulness", "reward", str(run), *asked])
    assert f"{found.metric}: {found.mean:.4f}, 95 % interval" in done.output


def test_a_reward_that_is_no_number_is_not_stored(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model = classifier(tmp_path / "reward", tiny_llama, outputs=1)
    run = made_run(tmp_path / "run", [{"instruction": "?"}], ["No."])
    broken = lambda self, inputs: torch.tensor([[float("nan")]])  # noqa: E731
    monkeypatch.setattr("bfpo_bench.engines.reward_model.RewardModel._logits", broken)
    with pytest.raises(RunFailed, match="is nan, not a number; its model is damaged"):
        mean_reward(run, str(model))
    with Store(run / "samples.sqlite", read_only=True) as store:
        assert store.select("SELECT * FROM outcomes") == []
