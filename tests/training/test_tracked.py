"""A training in trackers: the curves of ``training.json``, whatever happens to it on its way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bfpo_bench.common.processes import environment
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.train import train
from tests.trackers.offline import experiment, runs
from tests.training.conftest import Mine, during

Get = Callable[..., Recipe]


@pytest.mark.slow
def test_curves_of_a_training_that_is_stopped_and_gone_on_with(
    offline: Path, mine: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    recipe = mine(
        *("preference", "layers=[mlp.down_proj]", "save_steps=2", "eval={share: 0.3, steps: 2}"),
        *("tokens={max_length: 512, max_prompt: 256}", "optimization.num_train_epochs=3"),
    ).reported_to(("wandb", "mlflow"))

    def stopped() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        during(3, stopped, patch)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, Path("out"), device="cpu")
    [run] = experiment()
    assert run.info.status == "KILLED"
    assert run.data.metrics["train/global_step"] == 3
    train(recipe, Path("out"), device="cpu")
    train(recipe, Path("out"), device="cpu")

    content = json.loads(Path("out/training.json").read_text())
    curves = content["curves"]
    [run] = experiment()
    assert (run.info.status, run.info.run_name) == ("FINISHED", f"{offline.name}/out")
    assert run.data.params["recipe.loss"] == "dpo"
    with environment({"MLFLOW_ALLOW_FILE_STORE": "true"}):
        client = MlflowClient()
        for theirs, ours in (
            ("train/loss", "loss"),
            ("train/learning_rate", "learning_rate"),
            ("eval/loss", "eval_loss"),
        ):
            history = client.get_metric_history(run.info.run_id, theirs)
            expected = {entry["step"]: entry[ours] for entry in curves if ours in entry}
            assert len(expected) > 1
            assert {point.step: point.value for point in history} == expected
    numbers = run.data.metrics
    assert numbers["updates"] == content["updates"]
    assert numbers["train_loss"] == curves[-1]["train_loss"]

    held = runs(offline)
    assert len({one.id for one in held}) == 1
    assert [(one.job, one.exit_code) for one in held] == [("train", 1), ("train", 0), ("train", 0)]
    seen = {
        (point["train/global_step"], point["train/loss"])
        for one in held
        for point in one.history
        if "train/loss" in point
    }
    assert seen == {(entry["step"], entry["loss"]) for entry in curves if "loss" in entry}
    # Of a run that is read again, offline, all points.
    assert {p["eval/loss"] for p in held[-1].history if "eval/loss" in p} == {
        entry["eval_loss"] for entry in curves if "eval_loss" in entry
    }


def test_all_stages_are_reported(mine: Mine) -> None:
    first = "{kind: sft, loss: null, data: [{name: a, pairs: helpful, files: [pairs.jsonl]}]}"
    told = mine("preference", f"first={first}").reported_to(("mlflow",))
    assert [stage.report_to for stage in told.stages] == [("mlflow",), ("mlflow",)]
