"""Disks that fill up while something is trained, of a size of their own."""

from __future__ import annotations

import pytest

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.training import loop
from bfpo_bench.training.train import train
from tests.small_disk import SmallDisk
from tests.training.conftest import Mine


@pytest.mark.parametrize(
    ("kind", "change", "room", "what"),
    [
        # Weights and Adam's two numbers of 251,000 parameters; adapters alone, and then the model.
        ("sft", "save_minutes=9", "1100k", r"a checkpoint takes about 3.01 MB, 1.9"),
        ("reward", "save_minutes=9", "700k", r"a checkpoint takes about 3.01 MB, 2.3"),
        ("preference", "lora.rank=4", "900k", r"the trained model takes about 1.00\d MB, [34]\d\d"),
    ],
)
def test_a_disk_that_fills_up(
    mine: Mine,
    small_disk: SmallDisk,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: str,
    change: str,
    room: str,
    what: str,
) -> None:
    # Adapters are written at two checkpoints before the model finds no room.
    updates = 2 if kind == "preference" else 1
    recipe = mine(kind, change, f"optimization.max_steps={updates}", "save_steps=1")
    # It had room enough when the training began.
    monkeypatch.setattr(loop, "check_room", lambda *_: True)
    out = small_disk(room) / "out"
    with pytest.raises(
        RunFailed, match=f"the disk of {out} is full: {what}.* more than are"
    ) as caught:
        train(recipe, out, device="cpu")
    kept = sorted(path.name for path in out.glob("checkpoint-*"))
    assert kept == (["checkpoint-1", "checkpoint-2"] if kind == "preference" else [])
    assert ("newest whole checkpoint" in str(caught.value)) == bool(kept)
    assert not (out / "model.safetensors").exists()
    small_disk("9m")
    assert train(recipe, out, device="cpu")["updates"] == updates
