"""Generation with transformers: rows that leave, windows, and a cache that does not copy itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines import EngineOptions, GenerateRequest, open_engine
from bfpo_bench.engines.protocol import NonFiniteLogits, Response
from tests.engines.asked import WORDS, answers


@pytest.fixture(scope="module")
def engine(tiny_llama: Path) -> Any:
    """Rows that end at very different lengths: every twelfth token ends a response."""
    engine: Any = open_engine(
        "hf", EngineOptions(str(tiny_llama), dtype="float32", device="cpu", batch_size=16)
    )
    engine._generation._eos_ids = set(range(0, len(engine.tokenizer), 12))
    return engine


def requests(count: int, sampling: Sampling) -> list[GenerateRequest]:
    rng = random.Random(0)
    return [
        GenerateRequest(" ".join(rng.choices(WORDS, k=rng.randint(1, 20))), sampling, seed)
        for seed in range(count)
    ]


@pytest.mark.parametrize("sampling", [Sampling(40, 1.0, 0.95), Sampling(40, 1.0, 1.0, (" it",))])
def test_rows_that_have_ended_are_not_computed(
    engine: Any, monkeypatch: pytest.MonkeyPatch, sampling: Sampling
) -> None:
    """The same answers as with all rows to the end, for the rows that are needed and few more."""
    from bfpo_bench.engines.hf import decode

    asked = requests(16, sampling)
    rows: list[int] = []
    hook = engine.model.register_forward_pre_hook(
        lambda _, __, given: rows.append(len(given["input_ids"])), with_kwargs=True
    )
    try:
        dropping = answers(engine.respond(asked))
        dropped_rows = sum(rows)
        rows.clear()
        monkeypatch.setattr(decode, "DROP_BELOW", 0.0)
        whole = answers(engine.respond(asked))
    finally:
        hook.remove()
    assert dropping == whole
    assert len({answer.tokens for answer in whole.values()}) > 5
    # Each row needs a step for each of its tokens, and one for the token that ends it.
    needed = sum(a.tokens + (a.finish == "stop") for a in whole.values())
    assert sum(rows) == 16 * len(rows)
    assert dropped_rows < 1.1 * needed + 16 < sum(rows)


def test_a_roomy_layer_holds_what_transformers_own_layer_holds() -> None:
    import torch
    from transformers.cache_utils import DynamicLayer

    from bfpo_bench.engines.hf.decode import ROOM, RoomyLayer

    ours, theirs = RoomyLayer(), DynamicLayer()
    generator = torch.Generator().manual_seed(0)
    rows = 5
    for step in range(2 * ROOM + 10):
        new = torch.randn(2, rows, 3, 7 if step == 0 else 1, 4, generator=generator)
        for mine, other in zip(ours.update(*new), theirs.update(*new), strict=True):
            assert torch.equal(mine, other)
        assert ours.get_seq_length() == theirs.get_seq_length() == 7 + step
        if step in (20, 200):
            kept = torch.tensor([0, 2, 3][: rows - 2])
            ours.batch_select_indices(kept)
            theirs.batch_select_indices(kept)
            rows = len(kept)


def test_batches_keep_to_their_window(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "window", 24)
    asked = requests(60, Sampling(2, 1.0))
    batches = [[i for i, _ in batch] for batch in engine.respond(asked)]
    assert sorted(i for batch in batches for i in batch) == list(range(60))
    # A busy machine hands out a window's answers in more batches.
    windows = [{i // 24 for i in batch} for batch in batches]
    assert all(len(window) == 1 for window in windows)
    assert [min(window) for window in windows] == sorted(min(window) for window in windows)
    assert set().union(*windows) == {0, 1, 2}

    class Looked(list[GenerateRequest]):
        """Notes which requests were looked at."""

        def __init__(self) -> None:
            super().__init__(asked)
            self.at: set[int] = set()

        def __getitem__(self, index: Any) -> Any:
            self.at.update(range(60)[index])
            return super().__getitem__(index)

    looked = Looked()
    done = {*range(24), *batches[2]}
    again = [[i for i, _ in batch] for batch in engine.respond(looked, done)]
    assert again == batches[3:]
    assert looked.at == set(range(24, 60))


def test_a_halved_batch_names_the_right_request(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def respond(
        prompts: list[Any], asked: list[GenerateRequest], sampling: Sampling, known: Any
    ) -> Iterator[list[tuple[int, Response]]]:
        seeds = [request.seed for request in asked]
        if len(seeds) > 8:
            yield [(2, Response("first", 0, 0, 0, "stop"))]
            raise torch.cuda.OutOfMemoryError
        if len(seeds) > 4:
            raise torch.cuda.OutOfMemoryError
        if 13 in seeds:
            raise NonFiniteLogits(seeds.index(13))
        yield [(row, Response("", 0, 0, 0, "stop")) for row in range(len(seeds))]

    monkeypatch.setattr(engine._generation, "_respond_batch", respond)
    with pytest.raises(NonFiniteLogits) as caught:
        answers(engine.respond(requests(16, Sampling(2))))
    assert caught.value.index == 13
