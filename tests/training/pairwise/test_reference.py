"""Reference log-probabilities: right, paid for once, and found by whoever comes later."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.training.data.tokenize import TokenPair
from bfpo_bench.training.pairwise import reference
from bfpo_bench.training.pairwise.packing import pack_pairs, response_logprobs
from bfpo_bench.training.pairwise.reference import ReferenceCache, arithmetic, reference_logprobs
from bfpo_bench.training.recipe_parts import LoraRecipe
from bfpo_bench.training.trainable import add_adapters, select_layers
from tests.training.conftest import plain_logprob, random_pairs

NewModel = Callable[[], Any]


def swapped(pair: TokenPair) -> TokenPair:
    return dataclasses.replace(pair, chosen=pair.rejected, rejected=pair.chosen)


@pytest.fixture
def state() -> PartialState:
    return PartialState(cpu=True)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs go through a model, forward by forward."""
    counts: list[int] = []

    def spy(model: Any, packed: Any, *more: Any) -> Any:
        counts.append(len(packed.order) // 2)
        return response_logprobs(model, packed, *more)

    monkeypatch.setattr(reference, "response_logprobs", spy)
    return counts


def test_values_and_order(
    new_model: NewModel, state: PartialState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "TOKENS_AT_ONCE", 100)
    model, pairs = new_model(), random_pairs(11)
    found = reference_logprobs(pairs, model, "fp32", tmp_path / "a.sqlite", state, Progress(False))
    with torch.no_grad():
        for pair, both in zip(pairs, found, strict=True):
            expected = [
                plain_logprob(model, pair.prompt, r).item() for r in (pair.chosen, pair.rejected)
            ]
            assert both == pytest.approx(expected, abs=1e-4)


def test_weights_are_part_of_what_is_asked(
    new_model: NewModel, state: PartialState, tmp_path: Path
) -> None:
    model, [pair] = new_model(), random_pairs(1)
    half = dataclasses.replace(pair, chosen_weights=[0.5] * len(pair.chosen))
    found = []
    for some in ([pair], [half], [pair, half]):
        file = tmp_path / "a.sqlite"
        found += reference_logprobs(some, model, "fp32", file, state, Progress(False))
    assert found[:2] == found[2:]
    assert found[1][0] == pytest.approx(found[0][0] / 2)
    assert found[1][1] == found[0][1]


def test_three_methods_pay_once(
    new_model: NewModel, state: PartialState, tmp_path: Path, computed: list[int]
) -> None:
    model, pairs = new_model(), random_pairs(10)
    file = tmp_path / "a.sqlite"

    def look_up(some: list[TokenPair]) -> list[tuple[float, float]]:
        return reference_logprobs(some, model, "fp32", file, state, Progress(False))

    first = look_up([*pairs, pairs[3]])
    assert sum(computed) == 10
    # Another method lets other responses win, another seed takes another order.
    assert look_up([swapped(p) for p in pairs]) == [(b, a) for a, b in first[:10]]
    assert look_up(pairs[::-1]) == first[9::-1]
    assert sum(computed) == 10
    # New data: only what is new.
    more = random_pairs(13, seed=7)[10:]
    look_up(pairs + more)
    assert sum(computed) == 13


def test_an_interrupted_pass_goes_on(
    new_model: NewModel,
    state: PartialState,
    tmp_path: Path,
    computed: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reference, "TOKENS_AT_ONCE", 1)
    model, pairs = new_model(), random_pairs(10)
    spy = reference.response_logprobs

    def killed(*arguments: Any) -> Any:
        if len(computed) == 6:
            raise KeyboardInterrupt
        return spy(*arguments)

    monkeypatch.setattr(reference, "response_logprobs", killed)
    with pytest.raises(KeyboardInterrupt):
        reference_logprobs(pairs, model, "fp32", tmp_path / "a", state, Progress(False))
    monkeypatch.setattr(reference, "response_logprobs", spy)
    assert len(ReferenceCache(tmp_path / "a").missing(pairs)) == 6
    reference_logprobs(pairs, model, "fp32", tmp_path / "a", state, Progress(False))
    assert len(computed) == 6 + 6


def test_another_process_finds_them(tmp_path: Path) -> None:
    [pair] = random_pairs(1)
    keys = [(b"k" * 16, 1.0)]
    cache = ReferenceCache(tmp_path / "a.sqlite")
    cache.store(keys)
    code = f"""
import sys
from bfpo_bench.training.pairwise.reference import ReferenceCache, pair_keys
from bfpo_bench.training.data.tokenize import TokenPair
pair = TokenPair({pair.prompt}, {pair.chosen}, {pair.rejected}, None, None, "one", None, cut=0)
cache = ReferenceCache(__import__("pathlib").Path({str(cache.path)!r}))
assert cache.missing([pair]) == [0]
cache.store(zip(pair_keys(pair), (-1.5, -2.5)))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert cache.missing([pair]) == []
    assert cache.read([pair, swapped(pair)]) == [(-1.5, -2.5), (-2.5, -1.5)]


def test_the_policy_begins_where_the_reference_is(
    new_model: NewModel, state: PartialState, tmp_path: Path
) -> None:
    """In bf16 too, whatever shares a batch: rounding of the same products, no other arithmetic."""
    pairs = random_pairs(24)
    for number, patterns in enumerate(([], ["mlp.down_proj"])):
        model = new_model().bfloat16()
        select_layers(model, patterns)
        file = tmp_path / f"{number}.sqlite"
        found = torch.tensor(reference_logprobs(pairs, model, "bf16", file, state, Progress(False)))
        for size in (1, 4, 24):
            for start in range(0, 24, size):
                packed = pack_pairs(pairs[start : start + size])
                now = torch.stack(response_logprobs(model, packed, torch.bfloat16), dim=1)
                # Of some 50 nats.
                assert (now - found[start : start + size]).abs().max() < 5e-3


def test_files_tell_arithmetics_apart(new_model: NewModel) -> None:
    def name(patterns: list[str] | None, precision: str = "bf16") -> str:
        model = new_model()
        if precision == "bf16":
            model = model.bfloat16()
        if patterns is None:
            model = add_adapters(model, LoraRecipe(rank=2), [])
        else:
            select_layers(model, patterns)
        return arithmetic(model, precision)

    assert name([], "fp32") == name(["norm"], "fp32") == "fp32"
    # Float32 copies of matrices multiply in bfloat16 all the same.
    assert name(["mlp.down_proj"]) == name(["q_proj"]) == name(None) == "bf16"
    assert len({name([]), name(["norm"]), name(["embed_tokens"]), "bf16", "fp32"}) == 5


def test_damaged_weights(new_model: NewModel, state: PartialState, tmp_path: Path) -> None:
    model = new_model()
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(RunFailed, match=r"gives log-probabilities that are not numbers; its wei"):
        reference_logprobs(random_pairs(2), model, "fp32", tmp_path / "a", state, Progress(False))


def test_a_full_gpu(
    new_model: NewModel, state: PartialState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(reference, "response_logprobs", full)
    with pytest.raises(RunFailed, match=r"not suffice for the reference log-probabilities; lower"):
        reference_logprobs(
            random_pairs(2), new_model(), "fp32", tmp_path / "a", state, Progress(False)
        )


def test_a_cache_that_cannot_be_shared_or_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.sqlite").write_text("no database at all " * 100)
    with pytest.raises(
        RunFailed,
        match=r"^cannot use the cache of reference log-probabilities .*: file is not a database; m",
    ):
        ReferenceCache(tmp_path / "broken.sqlite")
    monkeypatch.setattr(reference, "has_locks", lambda _: False)
    with pytest.raises(BadInput, match=r"a file system without locks; set BFPO_CACHE_DIR to a fo"):
        ReferenceCache(tmp_path / "new.sqlite")
