"""The sentence that is made of what arrives when vLLM cannot start (texts of vLLM 0.32)."""

from __future__ import annotations

import pytest

from bfpo_bench.common.errors import BadInput, BenchError, RunFailed
from bfpo_bench.engines.vllm.startup import explained

DIED = "Engine core initialization failed. See root cause above. Failed core proc(s): {}"
TOO_LONG = (
    "1 validation error for ModelConfig\n  Value error, User-specified max_model_len (9999) is "
    "greater than the derived max_model_len (max_position_embeddings=2048 or model_max_length=None "
    "in model's config.json)."
)


@pytest.mark.parametrize(
    ("arrives", "on_gpu", "kind", "sentence"),
    [
        (DIED, True, RunFailed, f"(RuntimeError: {DIED}); its log above says why."),
        (DIED, True, RunFailed, "--gpu-memory-utilization (higher for more cache,"),
        (DIED, False, RunFailed, "VLLM_CPU_KVCACHE_SPACE (GiB, in the environment)"),
        (DIED, False, RunFailed, "in a container --ipc=host or --shm-size=1g"),
        (
            TOO_LONG,
            False,
            BadInput,
            "--max-length 9999 is more than the model's context window of 2048 tokens; give at "
            "most that.",
        ),
    ],
)
def test_sentences(arrives: str, on_gpu: bool, kind: type[BenchError], sentence: str) -> None:
    with pytest.raises(kind) as caught, explained(on_gpu):
        raise RuntimeError(arrives)
    assert sentence in str(caught.value)


def test_an_interrupt_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt), explained(on_gpu=False):
        raise KeyboardInterrupt
