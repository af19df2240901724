"""From a recipe to a row, by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.run.results_files import read_results

RECIPE = """
method: toy-bfpo
loss: bfpo
loss_parameters: {{tau: 0.1}}
mixing: buffered
precision: fp32
layers: [mlp.down_proj]
data:
  - {{name: one, pairs: bfpo, files: ["{file}"]}}
  - {{name: two, pairs: bfpo, files: ["{file}"], limit: 10}}
tokens: {{max_length: 2048, max_prompt: 1024}}
optimization: {{learning_rate: 1e-4, pairs_per_update: 16, per_device_train_batch_size: 8}}
"""


@pytest.mark.slow
def test_train_and_evaluate(
    data_dir: Path, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bfpo_bench.cli.app import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BFPO_CACHE_DIR", str(tmp_path / "cache"))
    file = data_dir / "preference" / "pku_saferlhf_32.json"
    Path("mine.yaml").write_text(RECIPE.format(file=file), encoding="utf-8")
    command = ["train", "--recipe", "mine.yaml", "--model", str(tiny_llama), "--device", "cpu"]
    looked = CliRunner().invoke(app, [*command, "--dry-run"])
    assert "one: 32 pairs" in looked.output
    assert "by the rule bfpo: 32 kept, 0 swapped, 0 dropped" in looked.output
    assert "4 updates of 16 pairs, 8 at once" in looked.output
    assert not Path("models").exists()

    done = CliRunner().invoke(
        app,
        [
            *(*command, "--evaluate", "--suite", "mini", "--judge", "keyword", "--limit", "3"),
            *("--tasks", "toxigen,advbench", "--eval-seed", "7", "--eval-dtype", "bfloat16"),
            *("--max-new-tokens", "4"),
        ],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    assert "toy-bfpo" in done.output
    assert "Savg" in done.output
    record = json.loads(Path("models/toy-bfpo/training.json").read_text(encoding="utf-8"))
    assert record["updates"] == 4
    assert [one["pairs"] for one in record["data"]] == [32, 10]
    # The run knows how its model was made.
    run = Path("runs/toy-bfpo-mini/training.json")
    assert json.loads(run.read_text(encoding="utf-8")) == record
    # evaluate's options are the evaluation's, those with eval- as well.
    results = read_results(run.with_name("results.json"))
    assert list(results.tasks) == ["bfpo_toxigen", "bfpo_advbench"]
    assert {one.n for one in results.tasks.values()} == {results.limit} == {3}
    asked = json.loads(run.with_name("run.json").read_text(encoding="utf-8"))["identity"]
    assert (asked["seed"], asked["dtype"], record["recipe"]["seed"]) == (7, "bfloat16", 42)
    assert asked["tasks"]["bfpo_advbench"]["generation"]["max_new_tokens"] == 4


def test_a_recipe_is_printed_with_nothing_loaded() -> None:
    from bfpo_bench.cli.app import app
    from bfpo_bench.training.recipe_file import as_yaml, load_recipe

    changes = ["first.loss=kto", "seed=7"]
    typed = [word for change in changes for word in ("--set", change)]
    done = CliRunner().invoke(app, ["train", "--recipe", "mistral/sacpo", *typed, "--print-recipe"])
    assert done.exit_code == 0, done.output
    recipe = load_recipe("mistral/sacpo", changes)
    assert done.output == as_yaml(recipe.as_dict())
    assert recipe.first is not None
    assert (recipe.first.loss, recipe.loss) == ("kto", "dpo")


def test_what_cannot_be_evaluated_is_told_before_the_training(
    data_dir: Path, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bfpo_bench.cli.app import app

    monkeypatch.chdir(tmp_path)
    file = data_dir / "preference" / "pku_saferlhf_32.json"
    Path("mine.yaml").write_text(RECIPE.format(file=file), encoding="utf-8")
    command = ["train", "--recipe", "mine.yaml", "--model", str(tiny_llama), "--evaluate"]
    for options, sentence in (
        (["--eval-output", "mine.yaml"], "(a file is in the way); choose another --eval-output."),
        (["--eval-output", "mine.yaml/run"], "cannot write mine.yaml/run"),
        (["--eval-output", str(tiny_llama)], "holds a model (config.json)"),
        (["--eval-output", "models/../models/toy-bfpo"], "is where the model goes"),
        (["--suite", "mini2"], "unknown suite 'mini2'; did you mean 'mini'"),
        (["--suite", "mini", "--judge", "keywrd"], "unknown judge 'keywrd'; did you mean"),
        (["--suite", "mini", "--tasks", "disk", "--dry-run"], "unknown task 'disk'; there are"),
        (["--data-dir", ".", "--tasks", "crows_pairs"], "the data of 1 of 1 tasks cannot be had"),
        (
            ["--thinking", "on", "--eval-chat-template", "never"],
            "--thinking on and --eval-chat-template never exclude each other",
        ),
    ):
        result = CliRunner().invoke(app, [*command, *options])
        assert isinstance(result.exception, BadInput)
        assert sentence in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.slow
def test_an_evaluation_that_was_interrupted_goes_on(
    data_dir: Path, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bfpo_bench.cli.app import app
    from bfpo_bench.evaluation import run as evaluation

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BFPO_CACHE_DIR", str(tmp_path / "cache"))
    rows = json.loads((data_dir / "preference" / "pku_saferlhf_32.json").read_text())
    rows[3]["response_0"] = ""
    Path("rows.json").write_text(json.dumps(rows))
    text = RECIPE.format(file="rows.json").replace(
        "pairs: bfpo", "skip_bad_rows: true, pairs: bfpo"
    )
    Path("mine.yaml").write_text(text, encoding="utf-8")
    asked: list[str] = []
    command = ["train", "--recipe", "mine.yaml", "--model", str(tiny_llama), "--device", "cpu"]
    command += ["--set", "optimization.max_steps=1", "--evaluate", "--suite", "mini"]
    command += ["--judge", "keyword"]

    def broken(options: Any, progress: Any) -> None:
        asked.append(options.model)
        raise RunFailed("the power went off")

    monkeypatch.setattr(evaluation, "run_evaluation", broken)
    first, second = (CliRunner().invoke(app, command) for _ in range(2))
    assert "one: 32 rows; 1 bad rows left out (training.json names them)." in first.output
    assert "models/toy-bfpo;" in first.output
    assert "models/toy-bfpo, trained before;" in second.output
    record = json.loads(Path("models/toy-bfpo/training.json").read_text(encoding="utf-8"))
    assert "rows.json, line 1: a response is empty" in record["data"][0]["bad_rows"][0]
    assert asked == ["models/toy-bfpo"] * 2
