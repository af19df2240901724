"""A training that is stopped, however, goes on: what is kept meanwhile and how it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from bfpo_bench.common import interrupts
from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.interrupts import Interrupts
from bfpo_bench.training import loop
from bfpo_bench.training.checkpoint import checkpoint_fault
from bfpo_bench.training.pairwise import run
from bfpo_bench.training.recipe_file import load_recipe
from bfpo_bench.training.train import train

RECIPE = """
method: mine
loss: dpo
precision: fp32
layers: [mlp.down_proj]
data: [{name: one, pairs: bfpo, files: [pairs.jsonl]}]
optimization: {learning_rate: 1e-3, pairs_per_update: 2, per_device_train_batch_size: 2}
"""


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Signals as the command line takes them."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(interrupts, "_installed", None)
    Interrupts()
    yield
    signal.signal(signal.SIGTERM, before)


def during(step: int, then: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has something happen in the middle of an update (from 0)."""
    inner = run.PreferenceTrainer.training_step

    def training_step(self: Any, *arguments: Any, **more: Any) -> Any:
        loss = inner(self, *arguments, **more)
        if self.state.global_step == step:
            then()
        return loss

    monkeypatch.setattr(run.PreferenceTrainer, "training_step", training_step)


def weights(folder: str) -> bytes:
    return Path(folder, "model.safetensors").read_bytes()


def losses(record: dict[str, Any]) -> list[float]:
    return [entry["loss"] for entry in record["curves"] if "loss" in entry]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_after_the_update_that_is_under_way(
    number: int,
    taken: None,
    tiny_llama: Path,
    work_with: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work_with(RECIPE)
    recipe = load_recipe("mine.yaml", base=str(tiny_llama))
    whole = train(recipe, Path("whole"), device="cpu")
    assert not list(Path("whole").glob("checkpoint-*"))
    with monkeypatch.context() as patch:
        during(2, lambda: os.kill(os.getpid(), number), patch)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, Path("out"), device="cpu")
    [kept] = Path("out").glob("checkpoint-*")
    assert kept.name == "checkpoint-3"
    assert checkpoint_fault(kept) is None
    # When and what is kept and reported makes no other training of it.
    changed = load_recipe("mine.yaml", ["save_minutes=5", "save_steps=4"], str(tiny_llama))
    resumed = train(changed, Path("out"), device="cpu")
    assert len(losses(whole)) == 6
    assert losses(resumed) == losses(whole)
    assert weights("out") == weights("whole")


def test_checkpoints_by_the_clock(
    tiny_llama: Path, work_with: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    def kill() -> None:
        raise Killed

    work_with(RECIPE)
    recipe = load_recipe("mine.yaml", base=str(tiny_llama))
    # Every look at the clock is six minutes later: one save in three of them, at 15 minutes.
    clock = iter(range(0, 360 * 10**6, 360))
    monkeypatch.setattr(loop, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
    with monkeypatch.context() as patch:
        during(4, kill, patch)
        with pytest.raises(Killed):
            train(recipe, Path("out"), device="cpu")
    assert [path.name for path in Path("out").glob("checkpoint-*")] == ["checkpoint-3"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc] PytorchStreamWriter failed writing"),
        SafetensorError('Error while serializing: I/O error: "No space left on device"'),
    ],
)
def test_a_full_disk(
    error: Exception,
    tiny_llama: Path,
    work_with: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise error

    work_with(RECIPE)
    monkeypatch.setattr(torch, "save", full)
    recipe = load_recipe("mine.yaml", ["save_steps=1"], str(tiny_llama))
    with pytest.raises(RunFailed, match="disk of out is full, and no checkpoint can be wri"):
        train(recipe, Path("out"), device="cpu")
