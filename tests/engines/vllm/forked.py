"""vLLM whose processes are forked, as on a GPU: each that is spawned imports for twelve seconds.

As a program it runs a module of vLLM's like that:
``python -m tests.engines.vllm.forked vllm.entrypoints.cli.main serve …``
"""

from __future__ import annotations

import os
import runpy
import sys

HEAVY = (
    *("vllm.entrypoints.llm", "vllm.v1.engine.core", "vllm.v1.worker.cpu_worker"),
    "vllm.model_executor.models.llama",
)
"""What all its processes import."""


def fork_engine() -> None:
    """vLLM's CPU platform has its processes spawned, whatever the environment says."""
    from vllm.utils import system_utils

    def fork() -> None:
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"

    system_utils._maybe_force_spawn = fork


if __name__ == "__main__":
    fork_engine()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
