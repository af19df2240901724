"""Copies of a model answer like one: an engine's, a ranker's, those of a reward model."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines import EngineOptions, GenerateRequest, ScoreRequest, open_engine
from bfpo_bench.engines import cluster as clusters
from bfpo_bench.engines.options import Loading
from bfpo_bench.helpfulness import rewards
from bfpo_bench.helpfulness.annotation import TASK
from bfpo_bench.helpfulness.rewards import mean_reward
from bfpo_bench.rankers import Comparison
from bfpo_bench.run.store import OutcomeRecord, Store
from tests.crash.attempts import all_gone, workers
from tests.engines.asked import answers
from tests.engines.test_reward_model import classifier
from tests.helpfulness.test_rewards import made_run
from tests.rankers.test_reward import rank
from tests.rankers.tiny import make_llama_reward

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    """One Ray on this machine for them all, with room for two copies, however late they come."""
    with pytest.MonkeyPatch.context() as patch, clusters.connected(None, 2):
        patch.setattr("bfpo_bench.engines.copies.SOON_SECONDS", 300.0)
        yield


def test_a_copy_ranks_like_a_model_that_is_loaded_here(
    here: None, tiny_llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A Ray that runs already; two copies of a reward model are those below."""
    folder = make_llama_reward(tmp_path / "reward", tiny_llama)
    items = [Comparison(f"Bike {n}?", n * "In the shed. ", "I can't.") for n in range(30)]
    assert rank(folder, items, ray="auto") == rank(folder, items)
    all_gone()
    [said] = caplog.messages
    assert said.startswith("One copy of the model runs on the Ray cluster at ")
    room = max(2, os.cpu_count() or 1)
    assert said.endswith(f", which can hold {room}; --data-parallel-size asks for more.")


def test_copies_rate_like_one(
    here: None, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit, also where one is lost on the way and where some rewards were there before."""
    model = str(classifier(tmp_path / "reward", tiny_llama, outputs=1))
    rows = [{"instruction": f"Where is bike {n}?"} for n in range(70)]
    answers = [n % 9 * "In the shed. " + "Where else?" for n in range(70)]
    runs = [made_run(tmp_path / name, rows, answers) for name in ("alone", "copied")]
    alone = mean_reward(runs[0], model, loading=Loading(device="cpu"))
    with Store(runs[0] / "samples.sqlite") as store:
        expected = store.outcomes(TASK, alone.metric)
    with Store(runs[1] / "samples.sqlite") as store:
        some = dict(list(expected.items())[::7])
        store.add_outcomes(OutcomeRecord(TASK, i, alone.metric, v) for i, v in some.items())
    stored = []

    def losing(store: Store, metric: str, part: list[Any], values: list[float]) -> None:
        if not stored:
            workers()[0].kill()
        stored.extend(one.item for one in part)
        keep(store, metric, part, values)

    keep = rewards._store
    monkeypatch.setattr(rewards, "_store", losing)
    monkeypatch.setattr("bfpo_bench.engines.copies.RESTARTS", 0)
    loading = Loading(device="cpu", data_parallel_size=2)
    assert mean_reward(runs[1], model, loading=loading) == alone
    with Store(runs[1] / "samples.sqlite") as store:
        assert store.outcomes(TASK, alone.metric) == expected
    assert sorted(stored) == sorted(expected.keys() - some.keys())
    all_gone()


def options(model: Path, copies: int) -> EngineOptions:
    return EngineOptions(
        str(model), dtype="float32", device="cpu", data_parallel_size=copies, batch_size=4
    )


@pytest.fixture(scope="module")
def pair(here: None, tiny_llama: Path) -> Iterator[Any]:
    engine = open_engine("hf", options(tiny_llama, 2))
    yield engine
    engine.close()
    all_gone()


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
