"""The way into a training: what can be said of a device before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.hf import load
from bfpo_bench.training.recipe_file import load_recipe
from bfpo_bench.training.train import train


def test_a_certain_gpu_is_chosen_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "find_device", torch.device)
    recipe = load_recipe("toy/bfpo", base="nowhere")
    with pytest.raises(BadInput, match=r"for cuda:1 set CUDA_VISIBLE_DEVICES=1 and give --device"):
        train(recipe, tmp_path / "out", device="cuda:1")
    monkeypatch.undo()
    with pytest.raises(BadInput, match="there is no device 'cdua' on this machine; it has cpu"):
        train(recipe, tmp_path / "out", device="cdua")
    assert not (tmp_path / "out").exists()
