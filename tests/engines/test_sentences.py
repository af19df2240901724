"""What a user reads when a model, a tokenizer or a server is not what a run needs."""

from __future__ import annotations

import json
import multiprocessing
import queue
import shutil
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.client import Server
from bfpo_bench.common import processes
from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines import EngineOptions, GenerateRequest, ScoreRequest
from bfpo_bench.engines import distributed as parallel
from bfpo_bench.engines import open as select
from bfpo_bench.engines.openai import dialect as dialect_module
from bfpo_bench.engines.openai.engine import OpenAIEngine, OpenAIOptions
from bfpo_bench.engines.tokenization import (
    fit_pair,
    load_tokenizer,
    prefix_token,
)
from tests.client.fake_server import FakeServer, Handler, serving
from tests.engines.openai.toy_openai import MODEL, Toy

SCORE = ScoreRequest("it is", " mine", 0)
CHAT = GenerateRequest("", Sampling(9), 3, (("user", "Hello"),))


@pytest.fixture(autouse=True)
def _few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect_module, "PROBE_TRIES", 2)


def engine_at(server: FakeServer, **options: Any) -> OpenAIEngine:
    patience = Server(server.url, None, timeout=5, first_delay=0.001, longest_delay=0.002)
    return OpenAIEngine(OpenAIOptions(patience, options.pop("model", MODEL), **options))


def altered(change: Callable[[dict[str, Any]], Any]) -> Callable[[Handler], None]:
    """A server whose completions are changed on their way out."""

    def act(handler: Handler) -> None:
        send = handler.reply

        def changed(content: Any, status: int = 200, **headers: str) -> None:
            if "choices" in content:
                change(content)
            send(content, status, **headers)

        handler.reply = changed  # type: ignore[method-assign]
        Toy()(handler)

    return act


def refusing(message: str, status: int = 400) -> Callable[[Handler], None]:
    def act(handler: Handler) -> None:
        if handler.path == "/v1/completions":
            handler.reply({"error": {"message": message}}, status)
        else:
            Toy()(handler)

    return act


def numbers(change: Callable[[list[Any]], list[Any]]) -> Callable[[Handler], None]:
    def replace(reply: dict[str, Any]) -> None:
        logprobs = reply["choices"][0]["logprobs"]
        logprobs["token_logprobs"] = change(logprobs["token_logprobs"])

    return altered(replace)


@pytest.mark.parametrize(
    ("act", "seen"),
    [
        (refusing("no echo"), r"got: HTTP 400, 'no echo'\)"),
        (altered(lambda reply: reply["choices"][0].pop("logprobs")), r"got: .*logprobs is no JSON"),
        (numbers(lambda values: values[:2] + [None] * len(values[2:])), r"got: 1 numbers for \d+ "),
        (
            numbers(lambda values: [None] + [0.0] * len(values[1:])),
            r"got: log-probabilities that are all 0\)",
        ),
    ],
)
def test_servers_without_log_probabilities(
    tiny_llama: Path, act: Callable[[Handler], None], seen: str
) -> None:
    with serving(act) as server, pytest.raises(BadInput) as caught:
        engine_at(server, tokenizer=tiny_llama).check([SCORE], [])
    asked = "gives no log-probabilities of a prompt (asked for completions with echo and logprobs"
    assert str(caught.value).startswith(f"{server.url} {asked}, got: ")
    caught.match(seen)
    assert "--tasks gen" in str(caught.value)


def test_servers_that_take_no_token_ids(tiny_llama: Path) -> None:
    toy = Toy(load_tokenizer(tiny_llama))

    def act(handler: Handler) -> None:
        if handler.content and isinstance(handler.content.get("prompt"), list):
            handler.reply({"error": {"message": "prompt must be a string"}}, 400)
        else:
            toy(handler)

    with serving(act) as server, pytest.raises(BadInput) as caught:
        engine_at(server, tokenizer=tiny_llama).check([SCORE], [])
    assert str(caught.value) == (
        f"{server.url} takes no prompt as token ids (HTTP 400: prompt must be a string); only "
        "the generative tasks can run against it (--tasks gen); for the others serve the model "
        "with vLLM, or use --backend hf or vllm."
    )


def test_scoring_needs_the_served_models_tokenizer() -> None:
    with serving(Toy()) as server, pytest.raises(BadInput) as caught:
        engine_at(server).check([SCORE], [])
    assert str(caught.value) == (
        f"scoring with {server.url} needs the served model's tokenizer, so that the very tokens "
        "are scored that other backends score; give its folder or hub id with --tokenizer, or run "
        "the generative tasks alone with --tasks gen."
    )


def test_classifier_judges_need_the_served_tokenizer() -> None:
    with serving(Toy()) as server, pytest.raises(BadInput) as caught:
        engine_at(server).label_logprobs(["is it"], [7])
    assert str(caught.value) == (
        "a classifier judge on a server needs the served model's tokenizer: its labels are tokens, "
        "and its questions are measured in them; give its folder."
    )


def test_servers_of_another_protocol() -> None:
    def act(handler: Handler) -> None:
        if handler.path == "/v1/chat/completions":
            handler.reply({"reply": "Hello there"})
        else:
            Toy()(handler)

    with serving(act) as server, pytest.raises(BadInput) as caught:
        engine_at(server).check([], [CHAT])
    assert f"{server.url}/chat/completions does not answer by the OpenAI protocol (" in str(
        caught.value
    )
    assert str(caught.value).endswith("; check --base-url.")


def test_servers_whose_model_is_unknown_or_broken(tiny_llama: Path) -> None:
    with serving(Toy()) as server:
        with pytest.raises(BadInput) as caught:
            engine_at(server, model="toys", tokenizer=tiny_llama).check([SCORE], [])
        assert str(caught.value) == (f"unknown model at {server.url} 'toys'; did you mean 'toy'?")
    toy = Toy(load_tokenizer(tiny_llama))

    def act(handler: Handler) -> None:
        if handler.content and handler.content.get("logprobs"):
            message = "Out of range float values are not JSON compliant"
            handler.reply({"error": {"message": message}}, 400)
        else:
            toy(handler)

    with serving(act) as server:
        engine = engine_at(server, tokenizer=tiny_llama)
        for ask in (
            lambda: engine.check([SCORE], []),
            lambda: engine.label_logprobs(["is it"], [7]),
        ):
            with pytest.raises(RunFailed) as failed:
                ask()
            assert str(failed.value) == (
                f"the log-probabilities of 'toy' at {server.url} are NaN or infinite; its weights "
                "are damaged or its numbers overflow (serve it in float32 or bfloat16)."
            )


def test_nobody_answers() -> None:
    with serving(Toy()) as server:
        pass
    with pytest.raises(BadInput) as caught:
        engine_at(server)
    assert str(caught.value).startswith(f"no server answers at {server.url} (")
    assert str(caught.value).endswith("); start it, or correct --base-url.")


def test_too_few_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3,5")
    assert parallel._device_groups(1, 2) == ["0,3"]
    with pytest.raises(BadInput) as caught:
        parallel._device_groups(2, 2)
    assert str(caught.value) == (
        "2 copies on 2 GPU(s) each need 4 GPUs, 3 are visible; lower --data-parallel-size or "
        "--tensor-parallel-size."
    )


def test_a_copy_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room for the weights")

    monkeypatch.setattr(select, "open_engine", fail)
    reader, writer = multiprocessing.Pipe(duplex=False)
    monkeypatch.setattr(processes, "locks", set())
    with reader, writer:
        options = EngineOptions(model="nowhere")
        parallel._work(1, "hf", options, None, queue.SimpleQueue(), writer)
        rank, kind, error = reader.recv()
    assert (rank, kind) == (1, "failed")
    assert isinstance(error, RunFailed)
    assert str(error) == "a copy of the model failed: MemoryError('no room for the weights')"


def test_unknown_and_missing_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="unknown backend 'vlm'; did you mean 'vllm'"):
        select.choose_backend("vlm")
    monkeypatch.setattr(select, "vllm_installed", lambda: False)
    with pytest.raises(BadInput, match="the vllm backend is not installed; run `pip install"):
        select.choose_backend("vllm")


def test_texts_that_do_not_fit_the_context_window() -> None:
    with pytest.raises(BadInput) as caught:
        fit_pair([1], [2] * 40, 32)
    assert str(caught.value) == (
        "a continuation of 40 tokens is longer than the context window of 32; nothing can be "
        "scored (raise --max-length if the model allows it)."
    )


def test_tokenizers_that_are_of_no_use(tiny_llama: Path, tmp_path: Path) -> None:
    class Plain:
        bos_token_id = eos_token_id = None

    with pytest.raises(BadInput, match="neither a BOS nor an EOS token, so a text without context"):
        prefix_token(Plain())
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "model"))
    for damaged in ('{"version": "1.0"}', "{", json.dumps([1])):
        (folder / "tokenizer.json").write_text(damaged)
        with pytest.raises(BadInput) as caught:
            load_tokenizer(folder)
        assert f"the tokenizer in {folder} cannot be read (" in str(caught.value)
        assert str(caught.value).endswith("); give another with --tokenizer.")


def test_prompts_of_a_judge_that_do_not_fit(tiny_llama: Path) -> None:
    from bfpo_bench.engines.hf.engine import HFEngine

    engine = HFEngine(EngineOptions(model=str(tiny_llama), device="cpu", max_length=8))
    with pytest.raises(BadInput) as caught:
        engine.label_logprobs(["it is mine " * 20], [7])
    caught.match(
        r"^a prompt of \d+ tokens is longer than the context window of 8; shorten it, or take a "
        r"model with a longer one\.$"
    )


def test_a_gpu_without_room_for_one_sequence() -> None:
    """Out of memory is the one thing that a machine without a GPU can only pretend."""
    import torch

    from bfpo_bench.engines.memory import halve_when_full

    sizes: list[int] = []

    def run(batch: list[int]) -> Iterator[list[tuple[int, str]]]:
        sizes.append(len(batch))
        yield [(batch[0], "done")] if len(batch) == 4 else []
        raise torch.cuda.OutOfMemoryError

    found: list[tuple[int, str]] = []
    with pytest.raises(RunFailed) as caught:
        found.extend(chain.from_iterable(halve_when_full(run, [0, 1, 2, 3])))
    # What has ended before memory ran out is kept and not asked again.
    assert found == [(0, "done")]
    assert sizes == [4, 1]
    assert str(caught.value) == (
        "the GPU has no room for a single sequence; lower --max-length, use --dtype bfloat16 or a "
        "larger GPU, then run the same command again."
    )
