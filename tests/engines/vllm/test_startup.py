"""What vLLM's processes wrote when they could not start, and the sentence made of it.

The texts were written by vLLM 0.32: on a CPU where a test of tests/crash/test_memory_vllm.py brings
the failure about, otherwise filled in from its source.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from bfpo_bench.common.errors import BadInput, BenchError, RunFailed
from bfpo_bench.engines.vllm.startup import explained

LINE = "(Worker pid=28556) ERROR 11-21 06:25:25 [multiproc_executor.py:1063] "
ARRIVES = "Engine core initialization failed. See root cause above. Failed core proc(s): {}"

SHARED_MEMORY = (
    "RuntimeError: Insufficient space in /dev/shm for shared-memory allocation: 160 MiB required, "
    "64 MiB free. Increase /dev/shm (e.g. --shm-size or --ipc=host)."
)
CACHE_OVER_MEMORY = (
    "ValueError: Available memory on node 0 (21.36/23.54 GiB) on kv cache allocation is less than "
    "requested memory for kv (200.0 GiB). Decrease --kv-cache-memory-bytes, "
    "VLLM_CPU_KVCACHE_SPACE, or reduce CPU memory used by other processes."
)
CACHE_UNDER_CONTEXT = (
    "ValueError: To serve at least one request with the model's max seq len (8000000), (7.63 GiB "
    "KV cache is needed, which is larger than the available KV cache memory (2.0 GiB). Based on "
    "the available memory, the estimated maximum model length is 2097024. Try increasing "
    "`gpu_memory_utilization` (which also controls CPU memory on the CPU backend) or decreasing "
    "`max_model_len` when initializing the engine."
)
NO_CACHE = (
    "ValueError: No available memory for the cache blocks. Try increasing "
    "`gpu_memory_utilization` when initializing the engine."
)
GPU_TAKEN = (
    "ValueError: Free memory on device cuda:0 (31.5/79.1 GiB) on startup is less than desired GPU "
    "memory utilization (0.9, 71.19 GiB). Decrease GPU memory utilization or reduce GPU memory "
    "used by other processes."
)
CONTEXT_OVER_MODEL = (
    "1 validation error for ModelConfig\n  Value error, User-specified max_model_len (9999) is "
    "greater than the derived max_model_len (max_position_embeddings=2048 or model_max_length=None "
    "in model's config.json)."
)


def failing(written: str, arrives: str = ARRIVES, on_gpu: bool = False) -> BenchError:
    """The error after a child process wrote something, and another exception arrived here."""
    code = "import sys; sys.stdout.write(sys.argv[1]); sys.stderr.write(sys.argv[2])"
    trace = f"Traceback (most recent call last):\n{written}\n"

    def start() -> None:
        with explained(on_gpu):
            subprocess.run([sys.executable, "-c", code, f"{LINE}{written}\n", trace], check=True)
            raise RuntimeError(arrives)

    with pytest.raises(BenchError) as caught:
        start()
    return caught.value


@pytest.mark.parametrize(
    ("written", "on_gpu", "sentence"),
    [
        (
            SHARED_MEMORY,
            False,
            "vLLM needs 160 MiB of shared memory and /dev/shm has 64 MiB left; give it more (a "
            "container: --ipc=host or --shm-size=1g) or use --backend hf.",
        ),
        (
            CACHE_OVER_MEMORY,
            False,
            "vLLM's KV cache was to take 200.0 GiB and 21.36 GiB of memory are available; lower "
            "VLLM_CPU_KVCACHE_SPACE (GiB, in the environment), end other programs, or use "
            "--backend hf.",
        ),
        (
            CACHE_UNDER_CONTEXT,
            False,
            "a context window of 8,000,000 tokens needs 7.63 GiB of KV cache and vLLM has 2.0 GiB "
            "for it; use a shorter one with --max-length (up to 2,097,024 fit), a larger "
            "VLLM_CPU_KVCACHE_SPACE (GiB, in the environment), or --backend hf.",
        ),
        (
            CACHE_UNDER_CONTEXT,
            True,
            "a context window of 8,000,000 tokens needs 7.63 GiB of KV cache and vLLM has 2.0 GiB "
            "for it; use a shorter one with --max-length (up to 2,097,024 fit), a higher "
            "--gpu-memory-utilization or --tensor-parallel-size, or --backend hf.",
        ),
        (
            NO_CACHE,
            True,
            "the model leaves vLLM no memory for a KV cache; use a higher --gpu-memory-utilization "
            "or --tensor-parallel-size, or --backend hf.",
        ),
        (
            GPU_TAKEN,
            True,
            "vLLM was to take 71.19 of the 79.1 GiB of cuda:0 and 31.5 GiB are free; lower "
            "--gpu-memory-utilization (0.9 now) or end what else runs there.",
        ),
    ],
)
def test_one_sentence_and_nothing_else(
    written: str,
    on_gpu: bool,
    sentence: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "bfpo_bench")
    error = failing(written, on_gpu=on_gpu)
    assert str(error) == sentence
    assert isinstance(error, RunFailed)
    assert capfd.readouterr() == ("", "")
    # Whoever wants to know more finds all of it in the log.
    assert f"{LINE}{written}" in caplog.text


def test_a_context_longer_than_the_models_is_the_users_mistake() -> None:
    error = failing("", arrives=CONTEXT_OVER_MODEL)
    assert isinstance(error, BadInput)
    assert str(error) == (
        "--max-length 9999 is more than the model's context window of 2048 tokens; give at most "
        "that."
    )


def test_another_cause_is_named_and_shown(capfd: pytest.CaptureFixture[str]) -> None:
    error = failing("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert str(error).startswith(
        "vLLM could not load the model (OutOfMemoryError: CUDA out of memory. Tried to allocate "
        "2.00 GiB.); see its log above"
    )
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("OutOfMemoryError") == 2


def test_what_is_said_in_a_good_start_comes_through(capfd: pytest.CaptureFixture[str]) -> None:
    child = (
        "import sys\n"
        "print('loading', flush=True)\n"
        "sys.stdin.readline()\n"
        "print('Traceback (most recent call last): later trouble', flush=True)"
    )
    command = [sys.executable, "-c", child]
    with explained(on_gpu=False):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
        os.write(1, b"mine, while it starts\n")
    os.write(1, b"mine, afterwards\n")
    process.communicate("\n")
    out = err = ""
    # It is another thread that passes things on.
    while "later trouble" not in err:
        more = capfd.readouterr()
        out, err = out + more.out, err + more.err
    assert out == "mine, afterwards\n"
    assert "loading\n" in err
    assert "mine, while it starts\n" in err


def test_an_interrupt_stays_one_and_gives_the_terminal_back(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def interrupted() -> None:
        with explained(on_gpu=False):
            os.write(1, b"Traceback (most recent call last):\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    os.write(1, b"mine again\n")
    assert capfd.readouterr().out == "mine again\n"
