"""What the training benchmark trains on; test_gpu.py runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import training
from benchmarks.training_contenders import Setup, _prepare


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    rows = [
        {
            "prompt": f"how do i clean lamp number {i} " + "with water " * (i % 4),
            "chosen": "gently " * (1 + i % 5),
            "rejected": "i will not say that " * (1 + i % 3),
        }
        for i in range(8)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_too_few_pairs(
    pairs_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(pairs_file), "--updates", "3", "--models", str(tmp_path / "models")]
    assert training.main(arguments) == 2
    assert "3 updates of 8 pairs, 2 at once, cannot be made of 8 pairs" in capsys.readouterr().err


def test_share_of_trained_matrices(pairs_file: Path, tmp_path: Path) -> None:
    """Which the count of operations depends on."""
    options = training._parser().parse_args(
        ["--data", str(pairs_file), "--models", str(tmp_path / "models")]
    )
    model, pairs = training._model_and_pairs(options)
    setup = Setup("ours dpo", model, pairs[:2], 2, 2, ("mlp.down_proj",), False, False, "cpu")
    _, ready = _prepare(setup, tmp_path)
    block = 4 * 256 * 256 + 3 * 256 * 688
    assert ready.share == pytest.approx(4 * 256 * 688 / (4 * block + 2000 * 256))
