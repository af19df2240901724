"""What a user reads when a model, a tokenizer or a server is not what a run needs."""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import socket
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from bfpo_bench import evaluate
from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.engines import EngineOptions, choose_backend
from bfpo_bench.engines.cluster import check_copies, connected
from bfpo_bench.engines.tokenization import (
    fit_pair,
    load_tokenizer,
    prefix_token,
)


def test_unknown_and_missing_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="unknown backend 'vlm'; did you mean 'vllm'"):
        choose_backend("vlm")
    monkeypatch.setattr("bfpo_bench.engines.open.vllm_installed", lambda: False)
    with pytest.raises(BadInput, match="the vllm backend is not installed; run `pip install"):
        choose_backend("vllm")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("nonsense", "it is neither auto nor HOST:PORT"),
        ("head:six", "it is neither auto nor HOST:PORT"),
        ("127.0.0.1:1", ".*refused"),
        ("ray://127.0.0.1:1", ".*refused"),
        ("127.0.0.1:123456", ".*"),
    ],
)
def test_a_cluster_that_does_not_answer_is_told_before_any_work(
    tiny_llama: Path, tmp_path: Path, address: str, why: str
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    run = tmp_path / "run"
    with pytest.raises(BadInput, match=rf"^no Ray cluster can be used at '{address}' \({why}\); "):
        evaluate(tiny_llama, suite="mini", judge="keyword", ray=address, output=run)
    assert not run.exists()


def test_an_environment_s_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """``auto`` is what ``RAY_ADDRESS`` says, without which Ray's own file of the last cluster."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray would try for a long time"))
    with socket.socket() as taken:  # nobody listens there, and nobody else will
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = rf"^no Ray cluster can be used at '{address}' \(.*refused\); start one"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(BadInput, match=said):
            check_copies("auto")
        monkeypatch.delenv("RAY_ADDRESS")
        check_copies("auto")
        found = "ray._private.services.canonicalize_bootstrap_address_or_die"
        monkeypatch.setattr(found, lambda _: address)
        with pytest.raises(BadInput, match=said), connected("auto", 1):
            pass
        taken.listen()
        client = rf"^no Ray cluster can be used at 'ray://{address}' \(through Ray's client"
        with pytest.raises(BadInput, match=client):
            check_copies(f"ray://{address}")


def test_a_cluster_of_another_version_is_told_with_both(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray._private.utils import check_version_info

    theirs = {"ray_version": "2.1.0", "python_version": "3.9.1"}
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: check_version_info(theirs, "node here"))
    with socket.create_server(("127.0.0.1", 0)) as open_port:
        address = f"127.0.0.1:{open_port.getsockname()[1]}"
        with pytest.raises(BadInput) as error, connected(address, 1):
            pass
    [line] = error.value.lines
    assert "Ray: 2.1.0 Python: 3.9.1 This process on node here was started with: Ray: " in line
    assert f"Ray: {ray.__version__} Python: {platform.python_version()}); start one" in line


def test_copies_without_ray_are_told_before_any_work(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *more: None if name == "ray" else there(name, *more),
    )
    run = tmp_path / "run"
    with pytest.raises(
        BadInput, match=r"need Ray; run `pip install 'bfpo-bench\[ray\]'`, or leave"
    ):
        evaluate(
            tiny_llama,
            suite="mini",
            judge="keyword",
            data_parallel_size=2,
            output=run,
            backend="hf",
        )
    assert not run.exists()


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

    from bfpo_bench.engines.batching import halve_when_full

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
