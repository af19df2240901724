"""Copies of a model in processes of their own answer like one."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines import (
    EngineOptions,
    GenerateRequest,
    NonFiniteLogits,
    ScoreRequest,
    open_engine,
)
from tests.engines.asked import answers
from tests.toy_models import weights_of

pytestmark = pytest.mark.slow


def options(model: Path, copies: int) -> EngineOptions:
    return EngineOptions(str(model), dtype="float32", device="cpu", data_parallel_size=copies)


@pytest.fixture(scope="module")
def pair(tiny_llama: Path) -> Iterator[Any]:
    engine = open_engine("hf", options(tiny_llama, 2))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def single(tiny_llama: Path) -> Any:
    return open_engine("hf", options(tiny_llama, 1))


def sentences(count: int) -> list[str]:
    rng = random.Random(0)
    words = ["bike", "mine", "borrow", "open", "paint", "care", "today"]
    return [" ".join(rng.choices(words, k=rng.randint(1, 20))) for _ in range(count)]


def test_two_copies_answer_like_one(pair: Any, single: Any) -> None:
    texts = sentences(30)
    scores = [ScoreRequest(text, " mine", group // 2) for group, text in enumerate(texts)]
    ours, theirs = answers(pair.score(scores)), answers(single.score(scores))
    assert sorted(ours) == list(range(30))
    # The very same batches: no rounding differs.
    assert ours == theirs
    done = set(range(0, 30, 3))
    assert set(answers(pair.score(scores, done))) >= set(range(30)) - done

    requests = [GenerateRequest(text, Sampling(8, 0.7), n) for n, text in enumerate(texts)]
    assert answers(pair.respond(requests)) == answers(single.respond(requests))
    labels = single.label_logprobs(texts, [5, 9])
    assert pair.label_logprobs(texts, [5, 9]) == labels
    rest = answers(pair.label_batches(texts, [5, 9], answered=done))
    assert set(range(30)) - done <= rest.keys()
    assert rest == {index: labels[index] for index in rest}


def test_more_prompts_than_a_copy_is_given_at_a_time(
    pair: Any, single: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bfpo_bench.engines import distributed

    monkeypatch.setattr(distributed, "WINDOW", 4)
    requests = [GenerateRequest(text, Sampling(4), n) for n, text in enumerate(sentences(21))]
    whole = answers(single.respond(requests))
    assert answers(pair.respond(requests)) == whole
    # Windows of which all is known are not sent at all.
    done = set(range(16))
    assert set(range(16, 21)) <= set(answers(pair.respond(requests, done))) <= set(range(8, 21))


def test_bad_input_inside_a_copy_is_told(pair: Any) -> None:
    with pytest.raises(BadInput, match="no token of its own"):
        list(pair.score([ScoreRequest("context", "", 0)]))


# Python reads it at its start: one of two neighbouring processes ends when it comes to the model.
DYING = """
import multiprocessing, os, sys

class Dying:
    @staticmethod
    def find_spec(name, *_):
        if name == "transformers.modeling_utils":
            if multiprocessing.current_process()._identity[-1] % 2:
                os._exit(7)

sys.meta_path.insert(0, Dying)
"""


def test_a_copy_that_dies_while_it_loads(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one loads, and would wait for ever."""
    (tmp_path / "sitecustomize.py").write_text(DYING)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    before = set(multiprocessing.active_children())
    with pytest.raises(RunFailed, match=r"copy of the model ended unexpectedly \(exit code 7\)"):
        open_engine("hf", options(tiny_llama, 2))
    assert set(multiprocessing.active_children()) <= before


def test_what_is_wrong_in_one_copy_ends_the_others(tiny_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "broken"))
    (folder / "config.json").write_text('{"model_type": "nobody-knows"}')
    before = set(multiprocessing.active_children())
    with pytest.raises(BadInput, match="cannot be loaded as a causal language model"):
        open_engine("hf", options(folder, 2))
    assert set(multiprocessing.active_children()) <= before


def test_nan_names_the_request(tiny_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "nan"))
    with weights_of(folder) as tensors:
        tensors["model.norm.weight"][:] = float("nan")
    engine = open_engine("hf", options(folder, 2))
    with pytest.raises(NonFiniteLogits) as caught:
        list(engine.respond([GenerateRequest("a", Sampling(4, 0.7), 0)] * 2))
    assert caught.value.index in (0, 1)
    engine.close()


def test_a_dead_copy_ends_the_run(tiny_llama: Path) -> None:
    engine = open_engine("hf", options(tiny_llama, 2))
    engine._workers[1].kill()
    with pytest.raises(RunFailed, match=r"ended unexpectedly \(killed; did the memory suffice\?"):
        list(engine.respond([GenerateRequest("a", Sampling(4), 0)] * 4))
    engine.close()
    assert not any(worker.is_alive() for worker in engine._workers)
