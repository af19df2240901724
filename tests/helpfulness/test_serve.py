"""A server that is started for an annotator: how it starts, how it ends, and the real one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bfpo_bench.client import ask
from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.helpfulness import serve
from bfpo_bench.helpfulness.annotate import annotate, annotations_of, make_pairs
from bfpo_bench.helpfulness.annotator import AnnotatorOptions, choose_annotator
from bfpo_bench.helpfulness.cost import Prices
from bfpo_bench.helpfulness.serve import serving
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.run.store import Store
from tests.helpfulness.package import install_package
from tests.helpfulness.test_annotate import fill

# Lists one model to whoever has the key, and has a helper process, as vLLM has its engine.
SERVER = """
import http.server, json, os, subprocess, sys
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("helper", helper.pid, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        body = json.dumps({"data": [{"id": "toy"}]}).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

BROKEN = """
raise ValueError("no room for this model")
"""


def start(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Has this program started in the place of vLLM's."""
    monkeypatch.setattr(
        serve,
        "_command",
        lambda files, model, options, port: [sys.executable, "-c", code, str(port)],
    )


def local(model: Path) -> AnnotatorOptions:
    return AnnotatorOptions(annotator="local", annotator_model=str(model), backend="hf")


def ended(pid: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


def helper(log: Path) -> int:
    return int(log.read_text(encoding="utf-8").split("helper ")[1].split()[0])


def test_a_server_runs_while_it_is_needed(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(monkeypatch, SERVER)
    log = tmp_path / "annotator.log"
    with serving(find_model(str(tiny_llama)), "toy", local(tiny_llama).loading, log) as server:
        assert server.is_local
        listed = ask(server, lambda caller: caller.get("models", lambda reply: reply))
        assert listed["data"][0]["id"] == "toy"
        pid = helper(log)
        assert psutil.pid_exists(pid)
    assert ended(pid)


def test_a_server_ends_when_the_work_fails(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(monkeypatch, SERVER)
    log = tmp_path / "annotator.log"
    files = find_model(str(tiny_llama))

    def interrupted() -> None:
        with serving(files, "toy", local(tiny_llama).loading, log):
            assert psutil.pid_exists(helper(log))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ended(helper(log))


def test_a_server_that_does_not_start_is_explained(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(monkeypatch, BROKEN)
    files = find_model(str(tiny_llama))
    with (
        pytest.raises(
            RunFailed, match=r"did not start \(ValueError: no room for this model\); see"
        ),
        serving(files, "toy", local(tiny_llama).loading, tmp_path / "annotator.log"),
    ):
        pytest.fail("it runs")
    start(monkeypatch, "raise SystemExit(7)")
    with (
        pytest.raises(RunFailed, match=r"did not start \(exit code 7\)"),
        serving(files, "toy", local(tiny_llama).loading, tmp_path / "annotator.log"),
    ):
        pytest.fail("it runs")


OWNER = """
import sys, time
from pathlib import Path
from bfpo_bench.helpfulness import serve
from bfpo_bench.helpfulness.annotator import AnnotatorOptions
from bfpo_bench.models.checkpoint import find_model
code, model, log = sys.argv[1:]
serve._command = lambda files, name, options, port: [sys.executable, "-c", code, str(port)]
options = AnnotatorOptions(annotator="local", annotator_model=model, backend="hf")
with serve.serving(find_model(model), "toy", options.loading, Path(log)):
    print("runs", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_server_ends_with_a_process_that_is_killed(tiny_llama: Path, tmp_path: Path) -> None:
    log = tmp_path / "annotator.log"
    command = [sys.executable, "-c", OWNER, SERVER, str(tiny_llama), str(log)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"runs\n"
    pid = helper(log)
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert ended(pid)


def test_the_command_serves_this_model(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = find_model(str(tiny_llama))
    options = AnnotatorOptions(
        annotator="local", batch_size=3, trust_remote_code=True, gpu_memory_utilization=0.5
    )
    monkeypatch.setattr(serve, "gpu_visible", lambda: True)
    command = " ".join(serve._command(files, "toy", options.loading, 1234))
    assert f"--model {tiny_llama} --served-model-name toy --host 127.0.0.1 --port 1234" in command
    assert command.endswith("--max-num-seqs 3 --trust-remote-code --gpu-memory-utilization 0.5")
    files.config["max_position_embeddings"] = 1 << 17
    monkeypatch.setattr(serve, "gpu_visible", lambda: False)
    command = " ".join(serve._command(files, "toy", options.loading, 1234))
    assert "--max-model-len 16384" in command
    assert command.endswith("--enforce-eager")


def best_logprobs(model: Path, messages: list[dict[str, str]]) -> list[float]:
    """The five highest log-probabilities of the first answer token, by transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(model)(ids).logits[0, -1].float()
    best: list[float] = logits.log_softmax(-1).topk(5).values.tolist()
    return best


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.usefixtures("vllm_uncompiled")
def test_a_real_vllm_server_annotates(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `--annotator local` to stored preferences, over HTTP, from real log-probabilities."""
    pytest.importorskip("vllm")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    install_package(monkeypatch, tmp_path / "site")
    log = tmp_path / "annotator.log"
    with Store(tmp_path / "samples.sqlite") as store:
        fill(store, 6)
        chosen = choose_annotator(local(tiny_llama))
        pairs = make_pairs(chosen, store, 0)
        annotate(pairs, chosen, Prices(), store, log, Progress(show=False))
        found = annotations_of(pairs, chosen, store, "mine")
        # All is there: no second server is started.
        log.unlink()
        annotate(pairs, chosen, Prices(), store, log, Progress(show=False))
        assert not log.exists()
        assert len(store.annotations()) == 6
    for pair, one in zip(pairs, found, strict=True):
        # A random model has no liking for the labels, but it has log-probabilities.
        [token] = one.raw["logprobs"]["content"]
        named = {other["token"] for other in token["top_logprobs"]} & {"m", "M"}
        assert (one.preference is None) == (not named)
        expected = best_logprobs(tiny_llama, chosen.config.messages(*pair.shown()))
        given = sorted((other["logprob"] for other in token["top_logprobs"]), reverse=True)
        # vLLM lists the token that was drawn in the fifth one's place where it is not among them.
        assert given[:4] == pytest.approx(expected[:4], abs=1e-3)
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(tiny_llama) in " ".join(process.info["cmdline"] or [])
    ]
