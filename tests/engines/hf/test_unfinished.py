"""A batch that is stopped in the middle goes on there, bit for bit."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bfpo_bench.common import interrupts
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines import EngineOptions, GenerateRequest
from bfpo_bench.engines import open_engine as opened
from bfpo_bench.engines.hf import unfinished
from bfpo_bench.engines.hf.decode import Decoding
from bfpo_bench.engines.hf.generate import HFGeneration
from bfpo_bench.engines.hf.unfinished import Unfinished
from tests.engines import architectures

PROMPTS = [[1, *range(5, 5 + length)] for length in (9, 4, 7, 12, 3, 6)]
SAMPLING = Sampling(30, 1.0)
ENDS = set(range(0, 101, 12))


def take_signals() -> None:
    """A command's handling of Ctrl-C and SIGTERM, as if none had come yet."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    interrupts.Interrupts()


class Stopping:
    """Counts a model's forward passes, and does something in one of them."""

    def __init__(self, model: Any) -> None:
        self.passes = self.at = 0
        self.then: Callable[[], object] = lambda: os.kill(os.getpid(), signal.SIGTERM)
        self._hook = model.register_forward_pre_hook(self._came)

    def _came(self, *_: Any) -> None:
        self.passes += 1
        if self.passes == self.at:
            self.then()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bfpo_bench.engines.hf.decode.HAND_OUT_SECONDS", 0.0)


def decode(model: Any, folder: Path | None, known: set[int] = frozenset()) -> Any:  # type: ignore[assignment]
    tokenizer = SimpleNamespace(eos_token_id=2, all_special_ids=[2], chat_template=None)
    generation = HFGeneration(model, tokenizer, max_length=64, pad_id=0, batch_size=None)
    kept = Unfinished(folder, [PROMPTS, SAMPLING.as_dict()])
    seeds = range(len(PROMPTS))
    return generation._decode(PROMPTS, Decoding(seeds, SAMPLING, ENDS, None, kept, known), 30)


def decode_until_stopped(model: Any, folder: Path, known: set[int]) -> dict[int, list[int]]:
    """What was handed out before the signal."""
    found: dict[int, list[int]] = {}
    try:
        with closing(decode(model, folder, known)) as batches:
            for some in batches:
                found.update(some)
    except KeyboardInterrupt:
        return found
    raise AssertionError("nobody stopped it")


@pytest.mark.parametrize(
    "name", ["llama", "mistral, window", "gemma2", "falcon (ALiBi)", "mamba", "mixtral"]
)
def test_a_stopped_batch_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    model = architectures.make(name)
    watch = Stopping(model)
    undisturbed = dict(pair for some in decode(model, None) for pair in some)
    assert len({len(tokens) for tokens in undisturbed.values()}) > 3
    needed, watch.passes = watch.passes, 0

    found: dict[int, list[int]] = {}
    folder = tmp_path / "unfinished"
    stops = [2, 3, needed // 2, needed - 1]
    for stop in stops:
        watch.at = stop
        take_signals()
        # What was stored is known; the rest is handed out again or goes on.
        told = decode_until_stopped(model, folder, set(found))
        assert not found.keys() & told
        found |= told
        assert [file.suffix for file in folder.iterdir()] == [".safetensors"]
    rest = dict(pair for some in decode(model, folder, set(found)) for pair in some)
    assert not found.keys() & rest
    assert found | rest == undisturbed
    assert watch.passes == needed
    assert not list(folder.iterdir())


def test_a_killed_process_goes_on_from_the_last_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "SECONDS", 0.0)
    model = architectures.make("llama")
    watch = Stopping(model)
    undisturbed = dict(pair for some in decode(model, None) for pair in some)

    def killed() -> None:
        raise SystemExit

    watch.passes, watch.at, watch.then = 0, 7, killed
    with pytest.raises(SystemExit):
        list(decode(model, tmp_path))
    # The step in which it ended is of no use; those before it were written down in time.
    watch.passes = watch.at = 0
    assert dict(pair for some in decode(model, tmp_path) for pair in some) == undisturbed
    assert watch.passes < max(map(len, undisturbed.values()))


def test_another_batch_a_cut_file_and_nothing(tmp_path: Path) -> None:
    model = architectures.make("llama")
    watch = Stopping(model)
    undisturbed = dict(pair for some in decode(model, tmp_path) for pair in some)
    needed = watch.passes
    take_signals()
    watch.passes, watch.at = 0, 5
    with pytest.raises(KeyboardInterrupt):
        list(decode(model, tmp_path))
    [path] = tmp_path.iterdir()
    whole = path.read_bytes()
    for content in (
        whole[: len(whole) // 2],
        b"",
        b"x" * 100,
        whole.replace(b'"key"', b'"kez"'),
        whole.replace(b"RoomyLayer", b"RoomyLater"),
    ):
        path.write_bytes(content)
        watch.passes = watch.at = 0
        assert dict(pair for some in decode(model, tmp_path) for pair in some) == undisturbed
        assert watch.passes == needed


@pytest.mark.parametrize("reason", ["no room", "own cache", "folder"])
def test_what_cannot_be_kept_is_told(
    reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = architectures.make("llama")
    folder = tmp_path
    if reason == "no room":
        monkeypatch.setattr(unfinished, "LARGEST", 1000)
    elif reason == "folder":
        (tmp_path / "file").touch()
        folder = tmp_path / "file"
    else:
        monkeypatch.setattr(unfinished, "_KINDS", {})
    watch = Stopping(model)
    watch.at = 5
    take_signals()
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        list(decode(model, folder))
    assert "An unfinished batch cannot be kept and will start over (" in caplog.text
    assert not list(tmp_path.glob("**/*.safetensors"))


def test_a_stopped_engine_ends_with_the_responses_of_an_undisturbed_one(
    tiny_llama: Path, tmp_path: Path
) -> None:
    """24 prompts that reach their limit, stopped again and again within their only batch."""
    options = EngineOptions(
        str(tiny_llama), dtype="bfloat16", device="cpu", scratch=str(tmp_path / "unfinished")
    )
    engine: Any = opened("hf", options)
    engine._generation._eos_ids = set()
    words = ["bike", "mine", "yours", "borrow", "open"]
    asked = [
        GenerateRequest(" ".join(words[: 1 + i % 5]), Sampling(64, 0.7, 0.95), i) for i in range(24)
    ]
    assert engine._generation._company == "any"
    watch = Stopping(engine.model)
    undisturbed = dict(pair for some in engine.respond(asked) for pair in some)
    assert {answer.finish for answer in undisturbed.values()} == {"length"}
    assert watch.passes == 64
    watch.passes = 0
    for stop in (20, 41, 63):
        watch.at = stop
        take_signals()
        with pytest.raises(KeyboardInterrupt):
            list(engine.respond(asked))
    assert dict(pair for some in engine.respond(asked) for pair in some) == undisturbed
    assert watch.passes == 64
