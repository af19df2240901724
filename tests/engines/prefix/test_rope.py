"""Frequencies that follow the longest sequence: every request is scored as if it were alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from bfpo_bench.engines.prefix.rope import RopeByLength
from bfpo_bench.engines.prefix.scorer import Scorer, continuation_request
from tests.engines.architectures import VOCABULARY, make, next_token_logprobs

ORIGINAL = 16
"""Tokens that the models were "trained" with."""


def longrope() -> Any:
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0, 5.0, 9.0, 20.0]}
    return make(
        "phi3",
        original_max_position_embeddings=ORIGINAL,
        rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, **factors}
        | {"original_max_position_embeddings": ORIGINAL, "partial_rotary_factor": 1.0},
    )


def dynamic() -> Any:
    parameters = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
    return make("llama", max_position_embeddings=ORIGINAL, rope_parameters=parameters)


def pairs() -> list[tuple[list[int], list[int]]]:
    """Short and long requests that begin alike, in no order of length."""
    rng = random.Random(0)
    found = []
    for _ in range(4):
        question = [rng.randrange(3, VOCABULARY) for _ in range(rng.randint(6, 10))]
        for length in (30, 2, 12, 7, 6, 1, 30):
            found.append((question, [rng.randrange(3, VOCABULARY) for _ in range(length)]))
    return found


@pytest.mark.parametrize("make_model", [longrope, dynamic])
@pytest.mark.parametrize("share_prefixes", [True, False])
def test_scores_are_those_of_single_sequences(make_model: Any, share_prefixes: bool) -> None:
    model = make_model()
    requests = [continuation_request(*pair) for pair in pairs()]
    found: dict[int, float] = {}
    scorer = Scorer(model, 128, share_prefixes=share_prefixes)
    for batch in scorer.run(requests):
        found |= {i: reading.loglikelihood for i, reading in batch}
    lengths = {len(request.ids) for request in requests}
    assert min(lengths) < ORIGINAL < max(lengths)
    for index, (context, more) in enumerate(pairs()):
        # A new model each time: "dynamic" remembers the longest sequence that it saw.
        with torch.inference_mode():
            table = next_token_logprobs(make_model(), list(requests[index].ids))
        right = sum(float(table[len(context) - 1 + k, token]) for k, token in enumerate(more))
        assert found[index] == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("make_model", [longrope, dynamic])
def test_the_models_do_depend_on_the_batch(make_model: Any) -> None:
    """What the module guards against: the same short sequence beside a long one."""
    with torch.inference_mode():
        alone = next_token_logprobs(make_model(), [5, 6, 7])
        beside = make_model()(torch.tensor([[5, 6, 7] + [0] * 30])).logits[0, :3]
    assert (alone - beside.double().log_softmax(-1)).abs().max() > 1e-2


def test_shared_prefixes_stay_shared_among_requests_of_like_frequencies() -> None:
    scorer = Scorer(longrope(), 128)
    question = list(range(3, 13))
    list(scorer.run([continuation_request(question, [answer] * 2) for answer in (20, 21, 22)]))
    assert scorer.computed_tokens == 10 + 3


def test_regimes() -> None:
    switching, growing, fixed = (RopeByLength(m) for m in (longrope(), dynamic(), make("llama")))
    assert [switching.regime(n) for n in (1, ORIGINAL, ORIGINAL + 1, 60)] == [0, 0, 1, 1]
    assert [growing.regime(n) for n in (1, ORIGINAL, ORIGINAL + 1, 60)] == [0, 0, ORIGINAL + 1, 60]
    assert [fixed.regime(n) for n in (1, 10**6)] == [0, 0]


def test_what_a_model_remembers_is_forgotten() -> None:
    model = dynamic()
    with torch.inference_mode():
        before = next_token_logprobs(model, [5, 6, 7])
        model(torch.zeros((1, 60), dtype=torch.long))
        # As many tokens as the model was made for: transformers keeps the grown frequencies.
        grown = next_token_logprobs(model, [5] * ORIGINAL)
        RopeByLength(model).forget()
        again = next_token_logprobs(model, [5] * ORIGINAL)
        right = next_token_logprobs(dynamic(), [5] * ORIGINAL)
        assert torch.equal(next_token_logprobs(model, [5, 6, 7]), before)
    assert torch.equal(again, right)
    assert not torch.equal(grown, right)
