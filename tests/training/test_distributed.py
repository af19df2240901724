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
from bfpo_bench.training.start import train

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
optimization: {learning_rate: 1e-4, pairs_per_update: 8, pairs_at_once: 2}
"""


@pytest.fixture
def alone(tiny_llama: Path, work_with: Callable[[str], None]) -> dict[str, Any]:
    """The training by one process."""
    work_with(RECIPE)
    return train(load_recipe("mine.yaml", base=str(tiny_llama)), Path("alone"), device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "model", "parameter"),
    [
        ("ddp", "DistributedDataParallel", "Parameter"),
        ("fsdp2", "FSDPLlamaForCausalLM", "DTensor"),
    ],
)
def test_two_processes(
    kind: str, model: str, parameter: str, alone: dict[str, Any], tiny_llama: Path, tmp_path: Path
) -> None:
    """In bf16, where a wrapper that rounds or computes otherwise would show at the first update."""
    import torch
    from transformers import AutoModelForCausalLM

    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "tests.training.distributed_worker", kind, "mine.yaml", str(tiny_llama), kind]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]
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
