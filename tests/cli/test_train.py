"""From a recipe to a row, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

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
optimization: {{learning_rate: 1e-4, pairs_per_update: 16, pairs_at_once: 8}}
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
    assert "4 updates of 16 pairs, 8 at once" in looked.output
    assert not Path("models").exists()

    done = CliRunner().invoke(
        app,
        [*command, "--evaluate", "--suite", "mini", "--judge", "keyword"],
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
