"""The transformers engine against lm-eval's own and against transformers' generate."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines import (
    EngineOptions,
    GenerateRequest,
    NonFiniteLogits,
    ScoreRequest,
    open_engine,
)
from tests.engines.asked import sentence


@pytest.fixture(scope="module")
def engine(tiny_llama: Path) -> Any:
    return open_engine("hf", EngineOptions(str(tiny_llama), dtype="float32", device="cpu"))


@pytest.fixture(scope="module")
def requests() -> list[ScoreRequest]:
    rng = random.Random(0)
    found = []
    for group in range(40):
        context = sentence(rng, 0, 30)
        for _ in range(rng.randint(1, 4)):
            found.append(ScoreRequest(context, " " + sentence(rng, 1, 6), group))
    return [*found, ScoreRequest("blanks at the end  ", "here", 40)]


def test_scores_equal_lm_eval(tiny_llama: Path, engine: Any, requests: list[ScoreRequest]) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    stock = HFLM(str(tiny_llama), device="cpu", dtype="float32", batch_size=4)
    theirs = stock.loglikelihood(
        [Instance("loglikelihood", {}, (r.context, r.continuation), 0) for r in requests],
        disable_tqdm=True,
    )
    ours = dict(pair for batch in engine.score(requests) for pair in batch)
    assert sorted(ours) == list(range(len(requests)))
    for index, (loglikelihood, greedy) in enumerate(theirs):
        assert ours[index].loglikelihood == pytest.approx(loglikelihood, rel=1e-5, abs=1e-4)
        assert ours[index].is_greedy == greedy


def test_resumed_scores_are_bit_for_bit_the_same(engine: Any, requests: list[ScoreRequest]) -> None:
    batches = list(engine.score(requests))
    whole = {i: s for batch in batches for i, s in batch}
    done = {i for i, _ in batches[0]} | {batches[-1][0][0]}
    rest = {i: s for batch in engine.score(requests, done) for i, s in batch}
    assert rest.keys() >= whole.keys() - done
    assert all(whole[i] == s for i, s in rest.items())


def test_context_is_cut_and_counted(tiny_llama: Path) -> None:
    small = open_engine(
        "hf", EngineOptions(str(tiny_llama), dtype="float32", device="cpu", max_length=16)
    )
    long = " ".join(["paint"] * 60)
    [[(_, score)]] = list(small.score([ScoreRequest(long, " mine", 0)]))
    assert score.cut_tokens > 0


@pytest.mark.parametrize("sampling", [Sampling(24, 0.7, 0.95), Sampling(24, 1.0, 1.0, (" it",))])
def test_responses_do_not_depend_on_batch_or_order(
    tiny_llama: Path, engine: Any, sampling: Sampling
) -> None:
    rng = random.Random(1)
    requests = [GenerateRequest(sentence(rng, 1, 20), sampling, seed) for seed in range(30)]
    together = dict(pair for batch in engine.respond(requests) for pair in batch)
    alone = open_engine(
        "hf", EngineOptions(str(tiny_llama), dtype="float32", device="cpu", batch_size=1)
    )
    turned = dict(pair for batch in alone.respond(requests[::-1]) for pair in batch)
    assert together == {29 - i: r for i, r in turned.items()}
    assert len({r.text for r in together.values()}) > 20
    if sampling.stop:
        assert all(" it" not in r.text for r in together.values())


def test_greedy_responses_equal_transformers(engine: Any) -> None:
    import torch

    prompts = ["the bike is mine", "we borrow", "paint it with care today and open the bike"]
    requests = [GenerateRequest(p, Sampling(12), 0) for p in prompts]
    ours = dict(pair for batch in engine.respond(requests) for pair in batch)
    for index, prompt in enumerate(prompts):
        ids = engine.tokenizer(prompt, return_tensors="pt")["input_ids"]
        output = engine.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
        )
        text = engine.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
        assert ours[index].text == text


def test_label_logprobs_are_those_of_the_full_softmax(engine: Any) -> None:
    import torch

    prompts = ["the bike", "we borrow the bike with care", "open"]
    ids = [7, 30, 2]
    ours = engine.label_logprobs(prompts, ids)
    for prompt, values in zip(prompts, ours, strict=True):
        tokens = engine.tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = engine.model(tokens).logits[0, -1]
        expected = torch.log_softmax(logits.float(), -1)[ids].tolist()
        assert values == pytest.approx(expected, abs=1e-4)


def test_nan_weights_are_noticed(engine: Any, tiny_llama: Path) -> None:
    import math

    import torch

    broken = open_engine("hf", EngineOptions(str(tiny_llama), dtype="float32", device="cpu"))
    with torch.no_grad():
        next(broken.model.parameters()).fill_(float("nan"))
    [[(_, score)]] = list(broken.score([ScoreRequest("the", " bike", 0)]))
    assert math.isnan(score.loglikelihood)
    with pytest.raises(NonFiniteLogits) as caught:
        list(broken.respond([GenerateRequest("the", Sampling(4, 0.7), 0)]))
    assert caught.value.index == 0


def test_splitting_one_model_over_gpus_is_refused(tiny_llama: Path) -> None:
    with pytest.raises(BadInput, match="cannot split one model over"):
        open_engine("hf", EngineOptions(str(tiny_llama), tensor_parallel_size=2))
