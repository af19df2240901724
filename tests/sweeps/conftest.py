"""Small models that differ, and a quick program to evaluate them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.sweeps import quick

NAMES = tuple(f"m{number:02}" for number in range(int(os.environ.get("BFPO_SWEPT", "3"))))
"""Of the checkpoints; more of them take a minute and more."""


@pytest.fixture(scope="session")
def models(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Checkpoints of different weights."""
    import torch
    from safetensors.torch import load_file, save_file

    home = tmp_path_factory.mktemp("swept")
    for number, name in enumerate(NAMES):
        shutil.copytree(tiny_llama, home / name)
        weights = load_file(tiny_llama / "model.safetensors")
        chance = torch.Generator().manual_seed(number)
        for tensor in weights.values():
            tensor += 0.05 * torch.randn(tensor.shape, generator=chance)
        save_file(weights, home / name / "model.safetensors", {"format": "pt"})
    return [str(home / name) for name in NAMES]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """What stands for ``python -m bfpo_bench``."""
    place = str(tmp_path_factory.mktemp("quick") / "socket")
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.sweeps.quick", "serve", place],
        cwd=REPO,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    assert server.stdout.readline() == b"ready\n"
    yield (sys.executable, "-SE", quick.__file__, "ask", place)
    server.stdin.close()
    server.wait(60)
