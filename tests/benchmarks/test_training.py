"""The training benchmark runs through, and DPO is TRL's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import training
from benchmarks.training_contenders import TRL, Setup, _prepare

HEAVY = (
    "trl.trainer.dpo_trainer",
    "bfpo_bench.training.pairwise.trainer",
    "transformers.models.llama",
)


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


def table(page: str) -> dict[str, dict[str, str]]:
    """The rows of a page's table by trainer and column; of two columns of one name the last."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_page_is_written_and_losses_agree(pairs_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    arguments = [
        *("--model", "tiny", "--updates", "2", "--per-update", "4", "--at-once", "2"),
        *("--losses", "dpo", "--layers", "mlp.down_proj", "--data", str(pairs_file)),
        *("--models", str(tmp_path / "models"), "--output", str(tmp_path)),
    ]
    assert training.main(arguments) == 0
    page = (tmp_path / "training-tiny-cpu.md").read_text(encoding="utf-8")
    rows = table(page)
    assert set(rows) == {TRL, "ours dpo"}
    assert float(rows["ours dpo"]["largest loss difference"]) < 1e-4
    for row in rows.values():
        assert float(row["peak MiB"].replace(",", "")) > 100
    assert "mlp.down_proj (704,512 parameters)" in page  # 4 x 256 x 688
    assert "8 of pairs.jsonl, 4 per update, 2 at once" in page


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
