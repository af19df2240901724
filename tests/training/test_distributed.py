"""Two processes do what one does (CPU, gloo)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.training.recipe_file import load_recipe
from bfpo_bench.training.train import train

ROOT = Path(__file__).resolve().parents[2]

RECIPE = """
method: mine
loss: bfpo
loss_parameters: {tau: 0.5}
mixing: buffered
precision: bf16
data:
  - {name: one, pairs: bfpo, files: [pairs.jsonl]}
  - {name: two, pairs: bfpo, files: [pairs.jsonl], limit: 5}
tokens: {max_length: 512, max_prompt: 256}
optimization: {learning_rate: 1e-4, pairs_per_update: 8, per_device_train_batch_size: 2}
"""


@pytest.fixture
def alone(tiny_llama: Path, work_with: Callable[[str], None]) -> dict[str, Any]:
    """The training by one process."""
    work_with(RECIPE)
    return train(load_recipe("mine.yaml", base=str(tiny_llama)), Path("alone"), device="cpu")


def launch(folder: Path, *arguments: str) -> None:
    """Runs the worker as two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "tests.training.distributed_worker", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]


def check(
    kind: str, model: str, parameter: str, alone: dict[str, Any], tiny_llama: Path, tmp_path: Path
) -> None:
    """In bf16, where a wrapper that rounds or computes otherwise would show at the first update."""
    import torch
    from transformers import AutoModelForCausalLM

    for rank in (0, 1):
        seen = json.loads((tmp_path / f"{kind}-{rank}.json").read_text())
        # Three updates of 8 pairs, 4 of them in each process, 2 at once.
        expected = {"model": model, "parameter": parameter, "processes": 2, "batches": 6}
        assert seen == expected
    record = json.loads((tmp_path / kind / "training.json").read_text())
    assert record["processes"] == 2
    for name in ("loss", "grad_norm", "rewards/margins", "rewards/accuracies_two"):
        mine, theirs = (
            [entry[name] for entry in one["curves"] if name in entry] for one in (record, alone)
        )
        assert len(theirs) == 3
        assert mine == pytest.approx(theirs, rel=2e-2, abs=1e-3), name
    # Nothing but rounding lies between the first losses.
    assert record["curves"][0]["loss"] == pytest.approx(alone["curves"][0]["loss"], rel=1e-4)
    # The pass was shared out, and only the main process's disk has to keep it.
    [kept] = (tmp_path / f"{kind}-cache-0" / "reference").iterdir()
    assert kept.name == next((tmp_path / "cache" / "reference").iterdir()).name
    assert not (tmp_path / f"{kind}-cache-1" / "reference").exists()

    saved, whole = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in (kind, "alone")
    )
    theirs = dict(whole.named_parameters())
    for name, weight in saved.named_parameters():
        assert torch.allclose(weight, theirs[name], atol=2e-2, rtol=2e-2), name


# Twelve pairs: neither a pass nor the last update divides by two processes of four.
SFT = """
method: sft
kind: sft
precision: fp32
data: [{name: one, pairs: helpful, files: [pairs.jsonl], limit: 11}]
optimization: {learning_rate: 1e-3, pairs_per_update: 4, per_device_train_batch_size: 2,
  num_train_epochs: 2}
"""
MODPO = """
method: modpo
loss: modpo
margin: {function: "tests.training.distributed_worker:rated"}
precision: fp32
layers: [mlp.down_proj]
data: [{name: one, pairs: helpful, files: [pairs.jsonl]}]
optimization: {learning_rate: 1e-3, pairs_per_update: 4, per_device_train_batch_size: 2}
"""


@pytest.mark.slow
def test_sharded(alone: dict[str, Any], tiny_llama: Path, tmp_path: Path) -> None:
    launch(tmp_path, "fsdp2", "mine.yaml", str(tiny_llama), "fsdp2")
    check("fsdp2", "FSDPLlamaForCausalLM", "DTensor", alone, tiny_llama, tmp_path)


@pytest.mark.slow
def test_each_with_the_whole_model(alone: dict[str, Any], tiny_llama: Path, tmp_path: Path) -> None:
    """BFPO, SFT, MODPO and stopping, in the same two processes: they take longest to start."""
    from safetensors.torch import load_file

    Path("sft.yaml").write_text(SFT)
    Path("modpo.yaml").write_text(MODPO)
    launch(tmp_path, "ddp", "mine.yaml", str(tiny_llama), "ddp", "others")
    check("ddp", "DistributedDataParallel", "Parameter", alone, tiny_llama, tmp_path)
    for name in ("sft", "modpo"):
        recipe = load_recipe(f"{name}.yaml", base=str(tiny_llama))
        alone = train(recipe, Path(f"{name}-alone"), device="cpu")
        record = json.loads(Path(f"{name}-0", "training.json").read_text())
        assert record["processes"] == 2
        assert record["updates"] == alone["updates"] == {"sft": 6, "modpo": 3}[name]
        for quantity in ("loss", "grad_norm"):
            one, two = (
                [entry[quantity] for entry in found["curves"] if quantity in entry]
                for found in (alone, record)
            )
            assert two == pytest.approx(one, rel=1e-3), (name, quantity)
        weights = [load_file(Path(f"{name}-{run}", "model.safetensors")) for run in ("0", "alone")]
        for key, weight in weights[1].items():
            assert (weights[0][key] - weight).abs().max() < 2e-5, (name, key)
        assert not Path(f"{name}-1", "model.safetensors").exists()
    # Twelve pairs in rounds of four for each process, twice: two responses of each are rated. Each
    # training tries the function on two responses before.
    tried = 2
    sizes = [Path(f"rated-{rank}").stat().st_size for rank in (0, 1)]
    assert sizes == [2 * (16 + tried), 2 * (8 + tried)]
    assert Path("rated-alone").stat().st_size == 24 + tried
    # One process was asked to stop: both did, after the same update, and the main one has kept it.
    assert [Path(f"stopped-{rank}.txt").exists() for rank in (0, 1)] == [True, True]
    assert [path.name for path in Path("stopped-0").glob("checkpoint-*")] == ["checkpoint-2"]
