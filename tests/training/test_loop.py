"""Rates, what is kept meanwhile, and that a training that is stopped, however, goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from bfpo_bench.common import interrupts
from bfpo_bench.common.errors import RunFailed, disk_is_full
from bfpo_bench.common.interrupts import Interrupts
from bfpo_bench.training import loop
from bfpo_bench.training.loop import share
from bfpo_bench.training.output import checkpoint_fault
from bfpo_bench.training.train import train
from tests.training.conftest import Mine, during, losses

SHORT = ("layers=[mlp.down_proj]", "optimization.pairs_per_update=2")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Signals as the command line takes them."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(interrupts, "_installed", None)
    Interrupts()
    yield
    signal.signal(signal.SIGTERM, before)


def weights(folder: str) -> bytes:
    return Path(folder, "model.safetensors").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_after_the_update_that_is_under_way(
    number: int,
    taken: None,
    mine: Mine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = mine("preference", *SHORT)
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
    changed = mine("preference", *SHORT, "save_minutes=5", "save_steps=4")
    resumed = train(changed, Path("out"), device="cpu")
    assert len(losses(whole)) == 6
    assert losses(resumed) == losses(whole)
    assert weights("out") == weights("whole")


def test_checkpoints_by_the_clock(mine: Mine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(Exception):
        pass

    def kill() -> None:
        raise Killed

    recipe = mine("preference", *SHORT)
    # Every look at the clock is six minutes later: one save in three of them, at 15 minutes.
    clock = iter(range(0, 360 * 10**6, 360))
    monkeypatch.setattr(loop, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
    with monkeypatch.context() as patch:
        during(4, kill, patch)
        with pytest.raises(Killed):
            train(recipe, Path("out"), device="cpu")
    assert [path.name for path in Path("out").glob("checkpoint-*")] == ["checkpoint-3"]


def test_how_libraries_say_that_a_disk_is_full() -> None:
    for error in (
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc] PytorchStreamWriter failed writing"),
        SafetensorError('Error while serializing: I/O error: "No space left on device"'),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 5312 vs 5204"),
        RuntimeError("basic_ios::clear: iostream error"),
        Exception("No space left on device (os error 28)"),  # the tokenizers library
    ):
        assert disk_is_full(error)
    assert not disk_is_full(OSError(5, "Input/output error"))


@pytest.mark.parametrize("kind", [RuntimeError, Exception])
def test_a_full_disk(kind: type[Exception], mine: Mine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise kind("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    # Weights and Adam's two numbers of the layers that are trained, in 4 bytes each.
    said = r"the disk of out is full: a checkpoint takes about [\d.]+ MB; free some and run the sam"
    with pytest.raises(RunFailed, match=said + ".*: it begins again, for no checkpoint was kept"):
        train(mine("preference", *SHORT, "save_steps=1"), Path("out"), device="cpu")
    assert not list(Path("out").glob("checkpoint-*"))


def test_whatever_is_damaged_in_the_newest_checkpoint(
    mine: Mine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every file of a real one, cut off and empty: the one before it is taken, and says so."""

    def kill() -> None:
        raise KeyboardInterrupt

    recipe = mine("preference", *SHORT, "save_steps=2")
    whole = train(recipe, Path("whole"), device="cpu")
    with monkeypatch.context() as patch:
        during(5, kill, patch)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, Path("out"), device="cpu")
    newest = Path("out", "checkpoint-4")
    files = [path for path in newest.iterdir() if path.is_file()]
    assert {path.suffix for path in files} >= {".safetensors", ".pt", ".pth", ".bin", ".json"}
    assert checkpoint_fault(newest) is None
    for path in files:
        content = path.read_bytes()
        for left in (content[: len(content) // 2], b""):
            path.write_bytes(left)
            assert checkpoint_fault(newest) == path.name
        path.write_bytes(content)
    (newest / "whole.json").write_text("[]")
    assert checkpoint_fault(newest) == "whole.json"
    # A name that comes after all others may stand for no folder at all.
    Path("out", "checkpoint-9").write_text("")
    resumed = train(recipe, Path("out"), device="cpu")
    assert (
        "checkpoint-9 is damaged (no trainer_state.json); training goes on from checkpoint-4"
        in (caplog.text)
    )
    assert "checkpoint-4 is damaged (whole.json); training goes on from checkpoint-2" in caplog.text
    assert losses(resumed) == losses(whole)
    assert weights("out") == weights("whole")


def test_rates() -> None:
    def rates(schedule: str, warmup: int, updates: int) -> list[float]:
        return [share(schedule, warmup, updates, k) for k in range(updates)]

    assert rates("linear", 2, 6) == [0.5, 1, 1, 0.75, 0.5, 0.25]
    # (1 + cos(π k / 4)) / 2
    assert rates("cosine", 0, 4) == pytest.approx([1, 0.8535534, 0.5, 0.1464466])
    assert rates("constant", 2, 3) == [1, 1, 1]
    assert rates("constant_with_warmup", 4, 6) == [0.25, 0.5, 0.75, 1, 1, 1]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "constant_with_warmup"])
def test_no_update_is_spent_at_a_rate_of_0(schedule: str) -> None:
    for updates in range(1, 12):
        for warmup in range(updates + 1):
            rates = [share(schedule, warmup, updates, k) for k in range(updates)]
            assert min(rates) > 0
            assert max(rates) == 1


@pytest.mark.parametrize("kind", ["preference", "sft", "reward"])
def test_a_training_of_one_update_changes_weights(kind: str, mine: Mine, tiny_llama: Path) -> None:
    from safetensors.torch import load_file

    recipe = mine(kind, "optimization.pairs_per_update=12", "optimization.max_steps=1")
    record = train(recipe, Path("out"), device="cpu")
    rates = [entry["learning_rate"] for entry in record["curves"] if "learning_rate" in entry]
    assert rates == [1e-3]
    before, after = (
        load_file(folder / "model.safetensors") for folder in (tiny_llama, Path("out"))
    )
    assert not any(torch.equal(before[name].float(), after[name]) for name in before)
