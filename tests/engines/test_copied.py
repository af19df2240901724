"""An engine of several copies answers like one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines import EngineOptions, GenerateRequest, ScoreRequest, open_engine
from tests.crash.attempts import workers
from tests.engines.asked import answers

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.slow


def options(model: Path, copies: int) -> EngineOptions:
    return EngineOptions(
        str(model), dtype="float32", device="cpu", data_parallel_size=copies, batch_size=4
    )


@pytest.fixture(scope="module")
def pair(tiny_llama: Path) -> Iterator[Any]:
    engine = open_engine("hf", options(tiny_llama, 2))
    yield engine
    engine.close()
    assert not workers()


@pytest.fixture(scope="module")
def single(tiny_llama: Path) -> Any:
    return open_engine("hf", options(tiny_llama, 1))


def sentences(count: int) -> list[str]:
    rng = random.Random(0)
    words = ["bike", "mine", "borrow", "open", "paint", "care", "today"]
    return [" ".join(rng.choices(words, k=rng.randint(1, 20))) for _ in range(count)]


def test_two_copies_answer_like_one(pair: Any, single: Any) -> None:
    """The very same batches: no rounding differs, and a lost copy changes nothing."""
    texts = sentences(30)
    scores = [ScoreRequest(text, " mine", group // 2) for group, text in enumerate(texts)]
    expected = answers(single.score(scores))
    assert answers(pair.score(scores)) == expected
    done = set(range(0, 30, 3))
    assert set(answers(pair.score(scores, done))) == set(range(30)) - done
    whole = [ScoreRequest("", 60 * text, n, rolling=True) for n, text in enumerate(texts[:4])]
    assert answers(pair.score(whole)) == answers(single.score(whole))
    labels = single.label_logprobs(texts, [5, 9])
    assert pair.label_logprobs(texts, [5, 9]) == labels

    requests = [GenerateRequest(text, Sampling(8, 0.7), n) for n, text in enumerate(texts)]
    asked = pair.respond(requests)
    found = dict(next(asked))
    workers()[0].kill()
    found |= answers(asked)
    assert found == answers(single.respond(requests))
    assert answers(pair.score(scores)) == expected


def test_windows_of_prompts(pair: Any, single: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for engine in (pair, single):
        monkeypatch.setattr(engine, "window", 6)
    requests = [GenerateRequest(text, Sampling(4), n) for n, text in enumerate(sentences(21))]
    assert answers(pair.respond(requests)) == answers(single.respond(requests))
    # Windows of which all is known are not sent at all.
    done = set(range(16))
    assert set(answers(pair.respond(requests, done))) == set(range(16, 21))


def test_bad_input_inside_a_copy_is_told(pair: Any) -> None:
    with pytest.raises(BadInput, match=r"^the continuation '' has no token of its own"):
        list(pair.score([ScoreRequest("context", "", 0)]))
