"""``--serve``: a model folder whose answers come from a server that is started for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.openai.engine import OpenAIEngine
from bfpo_bench.engines.vllm import layout, server
from bfpo_bench.evaluation import target
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.resolve import resolve

OPTIONS: dict[str, Any] = {"suite": "mini", "judge": "keyword", "dtype": "float32", "limit": 3}


@pytest.fixture
def model(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny model, and a program that stands for vLLM."""
    program = (sys.executable, "-m", "tests.engines.vllm.serve_program", "serve")
    monkeypatch.setattr(layout, "PROGRAM", program)
    monkeypatch.setattr(server, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(target, "choose_backend", lambda _: "vllm")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("NOTED", str(tmp_path / "noted"))
    monkeypatch.setenv("SERVES", "toy")
    return tiny_llama


def test_a_row_of_the_folder_by_answers_of_a_server(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    tasks = ("winogrande", "advbench")
    results = bfpo_bench.evaluate(str(model), output=run, tasks=tasks, serve="tp=1", **OPTIONS)
    assert [cell.n for cell in results.tasks.values()] == [3, 3]
    assert results.model["name"] == model.name
    identity = json.loads((run / "run.json").read_text())["identity"]
    # The folder's, as of any other engine: nothing of an address or a key.
    plain = resolve(EvaluateOptions(str(model), output=tmp_path / "hf", tasks=tasks, **OPTIONS))
    assert identity == {
        **plain.identity,
        "backend": "vllm",
        "model": {**plain.identity["model"], "served": "vllm serve"},
    }
    assert "loading" in (run / "serve.log").read_text()
    # Finished: nothing is started for what is there.
    (tmp_path / "noted").unlink()
    again = bfpo_bench.evaluate(str(model), output=run, tasks=tasks, serve="tp=1", **OPTIONS)
    assert again == results
    assert not (tmp_path / "noted").exists()
    # A server that does not do is ended, too.
    ended = []
    monkeypatch.setattr(server.VLLMServer, "close", lambda _: ended.append(True))
    monkeypatch.setattr(server.VLLMServer, "__init__", _stands)
    monkeypatch.setattr(OpenAIEngine, "__init__", _refuses)
    with pytest.raises(BadInput, match="refused"):
        bfpo_bench.evaluate(str(model), output=tmp_path / "b", tasks=tasks, serve="tp=1", **OPTIONS)
    assert ended == [True]


def _stands(self: Any, *_: Any) -> None:
    self.base_url, self.key = "http://127.0.0.1:9/v1", None


def _refuses(*_: Any) -> None:
    raise BadInput("refused")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"backend": "hf"}, "--serve starts vllm serve for the model; leave --backend and --base-"),
        ({"base_url": "http://localhost:1/v1"}, "--serve starts vllm serve for the model; leave "),
        ({"tensor_parallel_size": 2}, "--serve says itself how the model is spread (tp=8,pp=2,no"),
        ({"data_parallel_size": 2}, "--serve says itself how the model is spread (tp=8,pp=2,node"),
        ({"serve": "tp=2,nodes=3"}, "--serve: tp x pp = 2 GPUs are not shared evenly by 3 nodes;"),
    ],
)
def test_what_does_not_go_with_it(model: Path, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        resolve(EvaluateOptions(str(model), **{"serve": "tp=2", **OPTIONS, **more}))
    assert str(caught.value).startswith(sentence)


def test_weights_of_others_would_be_read_on_the_other_nodes(
    tiny_llama: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    for file in tiny_llama.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "consolidated.safetensors").symlink_to(tiny_llama / "model.safetensors")
    options = bfpo_bench.engines.EngineOptions(str(folder))
    with pytest.raises(
        BadInput, match=r"not the model's \(consolidated\.safetensors\), which vLLM"
    ):
        server.served(layout.Layout(tp=2, nodes=2), options, "m", tmp_path)
