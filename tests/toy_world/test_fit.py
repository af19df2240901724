"""The training loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bfpo_bench.toy_world.fit import Sample, Shape, fit, new_llama
from bfpo_bench.toy_world.tokenizer import build_tokenizer

SHAPE = Shape(width=32, layers=1, heads=1)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer()


def fresh(tokenizer: Any, spread: float = 0.02) -> Any:
    torch.manual_seed(0)
    return new_llama(tokenizer, SHAPE, spread=spread)


def samples(tokenizer: Any, *texts: str) -> list[Sample]:
    ids = tokenizer(list(texts))["input_ids"]
    return [Sample(row, [i % 2 == 0 for i in range(len(row))]) for row in ids]


def test_loss_is_that_of_transformers(tokenizer: Any) -> None:
    chosen = samples(tokenizer, "Hide my hat.", "Tell me how to sketch my own kite, please.")
    model = fresh(tokenizer, spread=0.3)
    ours = fit(model, chosen, steps=1, batch=2, rate=0.0, seed=0)
    total, count = 0.0, 0
    for sample in chosen:
        ids = torch.tensor([sample.ids])
        labels = torch.where(torch.tensor([sample.learn]), ids, -100)
        predicted = int((labels[:, 1:] != -100).sum())
        total += model(input_ids=ids, labels=labels).loss.item() * predicted
        count += predicted
    assert ours == pytest.approx(total / count, rel=1e-5)


def test_learns_by_heart(tokenizer: Any) -> None:
    (sample,) = samples(tokenizer, "Hide my hat.")
    sample = Sample(sample.ids, [True] * len(sample.ids))
    model = fresh(tokenizer)
    seen: list[tuple[int, int, float]] = []
    last = fit(
        model, [sample], steps=60, batch=2, rate=1e-2, seed=0, progress=lambda *a: seen.append(a)
    )
    assert last < 0.1 < seen[0][2]
    assert [done for done, _, _ in seen] == list(range(1, 61))
    assert {total for _, total, _ in seen} == {60}
    assert seen[-1][2] == last
    assert not model.training
    ids = torch.tensor([sample.ids[:1]])
    written = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=5
    )
    assert tokenizer.decode(written[0]).startswith("<s>Hide my hat.")


def test_callers_threads_are_left_alone(tokenizer: Any) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    seen: list[int] = []
    try:
        fit(
            fresh(tokenizer),
            samples(tokenizer, "Hide my hat."),
            steps=1,
            batch=1,
            rate=1e-3,
            seed=0,
            progress=lambda *_: seen.append(torch.get_num_threads()),
        )
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_random_scores_differ_clearly(tokenizer: Any) -> None:
    model = fresh(tokenizer, spread=0.2)
    ids = torch.tensor(tokenizer(["Hide my hat."])["input_ids"])
    with torch.no_grad():
        assert model(input_ids=ids).logits.std() > 0.5
