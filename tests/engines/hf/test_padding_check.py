"""Models that take the padding of a batch into their state answer as they would alone."""

from __future__ import annotations

import logging
import random
from types import SimpleNamespace
from typing import Any

import pytest

from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.hf.decode import Decoding
from bfpo_bench.engines.hf.generate import HFGeneration
from bfpo_bench.engines.hf.padding_check import ALONE, ANY, EQUAL
from bfpo_bench.engines.hf.unfinished import Unfinished
from tests.engines import architectures

TOKENIZER = SimpleNamespace(eos_token_id=2, all_special_ids=[2], chat_template=None)
LENGTHS = (2, 30, 7, 7, 16, 30)


def made(model: Any) -> HFGeneration:
    return HFGeneration(model, TOKENIZER, 320, pad_id=0, batch_size=None)


def greedy(generation: HFGeneration, prompts: list[list[int]]) -> list[list[int]]:
    decoding = Decoding([0] * len(prompts), Sampling(20), (), None, Unfinished(None, None))
    found = dict(pair for some in generation._decode(prompts, decoding, 20) for pair in some)
    return [found[row] for row in range(len(prompts))]


@pytest.mark.parametrize(
    ("name", "company"),
    [
        ("recurrent gemma", EQUAL),
        ("rwkv", ALONE),
        ("minimax", ANY),
        ("jamba", ANY),
        ("falcon-h1", ANY),
        ("mamba", ANY),
        ("mistral, window", ANY),
    ],
)
def test_what_is_planned_together_answers_as_alone(
    name: str, company: str, caplog: pytest.LogCaptureFixture
) -> None:
    generation = made(architectures.make(name))
    rng = random.Random(0)
    prompts = [[rng.randrange(3, 101) for _ in range(length)] for length in LENGTHS]
    with caplog.at_level(logging.WARNING):
        plan = generation._plan(list(LENGTHS), 20)
        generation._plan(list(LENGTHS), 20)
    expected = {
        ANY: [[1, 5, 4, 2, 3, 0]],
        EQUAL: [[1, 5], [4], [2, 3], [0]],
        ALONE: [[1], [5], [4], [2], [3], [0]],
    }
    assert plan == expected[company]
    told = [record.getMessage() for record in caplog.records if record.name.startswith("bfpo")]
    words = {EQUAL: "prompts of equal length alone are", ALONE: "prompts are answered one by one"}
    assert len(told) == (company != ANY)
    assert all("takes the padding of a batch into its state" in text for text in told)
    assert all(words[company] in text for text in told)

    alone = [greedy(generation, [prompt])[0] for prompt in prompts]
    for batch in plan:
        assert greedy(generation, [prompts[i] for i in batch]) == [alone[i] for i in batch]
    together = greedy(generation, prompts)
    assert (together == alone) == (company == ANY)


@pytest.mark.parametrize("name", sorted(architectures.PACKABLE))
def test_rounding_is_no_padding(name: str) -> None:
    """In 16 bits too: where padding does no harm, batches stay as they are."""
    import torch

    generation = made(architectures.make(name).to(torch.bfloat16))
    generation.max_length = 60
    assert generation._company == ANY


def test_rows_of_one_are_not_looked_at() -> None:
    generation = made(architectures.make("rwkv"))
    generation._batch_size = 1
    assert generation._company == ANY
