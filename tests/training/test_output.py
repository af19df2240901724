"""The output folder: what it may hold before, and what goes into it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.output import (
    checkpoint_fault,
    claim_output,
    finish_output,
    finished_record,
    write_manifest,
)

IDENTITY = {"recipe": {"layers": ("a",)}, "base weights": "w", "data": {"one": "d"}}


def saved_state(folder: Path, updates: int, whole: bool = True) -> None:
    checkpoint = folder / f"checkpoint-{updates}"
    checkpoint.mkdir()
    if whole:
        (checkpoint / "trainer_state.json").write_text("{}")


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("hello")
    with pytest.raises(BadInput, match=r"a checkpoint is a folder, and .*out is a file"):
        claim_output(tmp_path / "out", IDENTITY)


def test_a_folder_with_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("hello")
    with pytest.raises(BadInput, match=r"is not empty; name a new folder with --output"):
        claim_output(tmp_path, IDENTITY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_unfinished_training_goes_on_from_its_newest_whole_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    assert claim_output(out, IDENTITY) is None
    assert claim_output(out, IDENTITY) is None
    saved_state(out, 8)
    saved_state(out, 16)
    saved_state(out, 24, whole=False)
    assert claim_output(out, IDENTITY) == out / "checkpoint-16"


def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    claim_output(out, IDENTITY)
    for updates in (9, 10, 11):
        saved_state(out, updates)
    (out / "checkpoint-11" / "trainer_state.json").write_text("")
    (out / "checkpoint-mine").mkdir()
    assert claim_output(out, IDENTITY) == out / "checkpoint-10"
    assert "checkpoint-11 is damaged (trainer_state.json); training goes on from checkpoint-10" in (
        caplog.text
    )
    # It may not outlive, by its number, the ones that come now.
    assert not (out / "checkpoint-11").exists()
    for updates in (9, 10):
        (out / f"checkpoint-{updates}" / "trainer_state.json").unlink()
    assert claim_output(out, IDENTITY) is None
    assert "checkpoint-9 is damaged (no trainer_state.json); training goes on from the b" in (
        caplog.text
    )


def test_what_damages_a_checkpoint(tmp_path: Path) -> None:
    """Files cut off, gone, or as large as before and empty, as power failures leave them."""
    whole = tmp_path / "whole"
    saved_state(tmp_path, 1)
    (tmp_path / "checkpoint-1").rename(whole)
    save_file({"a": torch.ones(99)}, whole / "model.safetensors")
    for name in ("optimizer.pt", "rng_state.pth"):
        torch.save({"a": torch.ones(99)}, whole / name)
    (whole / "part").mkdir()
    (whole / "part" / "0.distcp").write_bytes(bytes(9))

    def fault(name: str, content: bytes | None, manifest: bool) -> str | None:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        copied = shutil.copytree(whole, tmp_path / "copy")
        if manifest:
            write_manifest(copied)
        if content is None:
            (copied / name).unlink()
        else:
            (copied / name).write_bytes(content)
        return checkpoint_fault(copied)

    names = [p.relative_to(whole).as_posix() for p in whole.rglob("*") if p.is_file()]
    assert len(names) == 5
    for name in names:
        content = (whole / name).read_bytes()
        for manifest in (True, False):
            assert fault(name, content, manifest) is None
        assert name in str(fault(name, None, True))
        assert fault(name, content[:-1], True) == name
        if not name.endswith(".distcp"):
            assert fault(name, bytes(len(content)), True) == name
            # As version 0.1 saved them, without a list of what there should be.
            assert fault(name, content[: len(content) // 2], False) == name
        if name.endswith(".json"):
            assert fault(name, b"[" * 100_000, False) == name
    flipped = bytearray((whole / "optimizer.pt").read_bytes())
    flipped[flipped.index(torch.ones(9).numpy().tobytes()) + 5] ^= 1
    assert fault("optimizer.pt", bytes(flipped), True) == "optimizer.pt"


def test_an_unfinished_training_of_an_older_version(tmp_path: Path) -> None:
    """Version 0.1 took other rates while it warmed up, and SFT another order."""
    claim_output(tmp_path / "out", IDENTITY)
    (tmp_path / "out" / "recipe.json").write_text(json.dumps(IDENTITY))
    saved_state(tmp_path / "out", 8)
    with pytest.raises(BadInput, match="holds an unfinished training of an older version, which"):
        claim_output(tmp_path / "out", IDENTITY)
    # Where nothing was trained yet nothing is mixed, and it is one of this version from now on.
    shutil.rmtree(tmp_path / "out" / "checkpoint-8")
    assert claim_output(tmp_path / "out", IDENTITY) is None
    saved_state(tmp_path / "out", 8)
    assert claim_output(tmp_path / "out", IDENTITY) == tmp_path / "out" / "checkpoint-8"


def test_an_unfinished_training_of_something_else(tmp_path: Path) -> None:
    claim_output(tmp_path / "out", IDENTITY)
    other = {**IDENTITY, "recipe": {"layers": ("b",)}, "data": {"one": "e"}}
    with pytest.raises(
        BadInput, match=r"holds an unfinished training with another recipe and data; go on with"
    ):
        claim_output(tmp_path / "out", other)


def test_a_finished_training(tmp_path: Path) -> None:
    out = tmp_path / "out"
    claim_output(out, IDENTITY)
    saved_state(out, 8)
    record = {**SAID, "base": {"name": "b"}, "data": [{"name": "one", "pairs": 12}]}
    finish_output(out, record)
    assert json.loads((out / "training.json").read_text()) == json.loads(json.dumps(record))
    card = (out / "README.md").read_text()
    assert "# dpo on b" in card
    assert "| one | 12 |  |  |" in card
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "training.json"]
    with pytest.raises(BadInput, match=r"out holds a finished training already; name another"):
        claim_output(out, IDENTITY)


RECIPE = {"loss": "dpo", "base": "here", "data": ({"name": "one", "files": ("a.jsonl",)},)}
SAID = {
    "method": "dpo",
    "recipe": RECIPE,
    "updates": 3,
    "trained_parameters": 9,
    "notes": [],
    "curves": [],
    "seconds": {"training": 2.0},
}
"""What a card says of any training."""
MADE = {**IDENTITY, "recipe": RECIPE, "rewards": {"margin": {"objective": 3}}}


def finished(folder: Path) -> dict[str, Any]:
    """What a training of MADE leaves."""
    record = {
        **SAID,
        "base": {"name": "b", "weights": "w"},
        "data": [{"name": "one", "pairs": 12, "digest": "d"}],
        "rewards": {"margin": {"objective": 3}},
    }
    claim_output(folder, MADE)
    finish_output(folder, record)
    return json.loads(json.dumps(record))


def test_the_same_training_again_is_read(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert finished_record(out, MADE) is None
    record = finished(out)
    assert finished_record(out, MADE) == record
    # Digests tell weights and data; where they lie does not count.
    there = {"name": "one", "files": ("/there/a.jsonl",)}
    moved = {**MADE, "recipe": {**RECIPE, "base": "there", "data": (there,)}}
    assert finished_record(out, moved) == record


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"recipe": {**RECIPE, "loss": "ipo"}}, "recipe"),
        ({"base weights": "v", "data": {"one": "e"}}, "base weights and data"),
        ({"rewards": {}}, "rewards"),
    ],
)
def test_another_training_in_its_folder(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    finished(tmp_path / "out")
    with pytest.raises(BadInput, match=f"finished training already, with another {named}; name"):
        finished_record(tmp_path / "out", {**MADE, **change})


def test_a_folder_that_was_moved_goes_on(tmp_path: Path) -> None:
    claim_output(tmp_path / "out", MADE)
    saved_state(tmp_path / "out", 8)
    moved = {**MADE, "recipe": {**RECIPE, "base": "there"}}
    assert claim_output(tmp_path / "out", moved) == tmp_path / "out" / "checkpoint-8"


def test_a_damaged_record(tmp_path: Path) -> None:
    for half in ('{"half": ', "[" * 100_000, "7", '{"recipe": 7}'):
        for name in ("recipe.json", "training.json", "config.json"):
            (tmp_path / name).write_text(half)
        with pytest.raises(BadInput, match=r"training.json is damaged; delete its folder"):
            finished_record(tmp_path, MADE)
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(BadInput, match=r"training.json does not say what it is of"):
        finished_record(tmp_path, MADE)
    (tmp_path / "training.json").unlink()
    with pytest.raises(BadInput, match=r"recipe.json is damaged; delete its folder"):
        claim_output(tmp_path, MADE)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"out cannot be written \(a file is in the way\); name"):
        claim_output(tmp_path / "file" / "out", MADE)
    with pytest.raises(BadInput, match=r"/proc/out cannot be written \(No such file"):
        claim_output(Path("/proc/out"), MADE)
