"""Memory and time from shapes, against figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bfpo_bench.common.device import Device, Speed, find_device, measure_speed
from bfpo_bench.engines.options import Loading
from bfpo_bench.estimate.memory import (
    Memory,
    Use,
    duration,
    gigabytes,
    least_seconds,
    memory_need,
    memory_verdict,
)
from bfpo_bench.estimate.model_shape import CacheLayer, ModelShape
from bfpo_bench.estimate.tokens import Work

# Llama 3.1 8B: 8,030,261,248 parameters; 32 layers with 8 heads of 128 for keys and values.
LLAMA = ModelShape(
    parameters=8_030_261_248,
    used_parameters=8_030_261_248 - 128_256 * 4096,
    weight_bytes=16_060_522_496,
    stored_bytes={"BF16": 16_060_522_496},
    quantised=False,
    dtype="bfloat16",
    cache=(CacheLayer(2 * 8 * 128, None),) * 32,
    hidden=4096,
    intermediate=14336,
    vocabulary=128_256,
    context=131_072,
)
SCORE = Work("score", requests=1000, read=100_000, scored=4000, longest=300)
RESPOND = Work("respond", requests=500, read=20_000, generated=256_000, longest=600, new=512)


def gpu(free: float, total: float = 80e9, count: int = 1) -> Device:
    return Device("cuda", "GPU H100", int(free), int(total), count)


def use(backend: str = "hf", device: Device | None = None, **options: Any) -> Use:
    window = options.pop("max_length", None)
    shape = options.pop("shape", LLAMA)
    loading = Loading(**options)
    return Use(shape, backend, loading, device or gpu(79e9), [SCORE, RESPOND], window)


def test_keys_and_values_of_llama() -> None:
    assert LLAMA.cache_bytes(1) == 131_072
    need = memory_need(use())
    assert need.weights == 16_060_522_496
    assert need.token == 131_072
    assert need.single == 600 * 131_072
    assert need.batch == 128 * 600 * 131_072
    assert need.least == need.weights + need.single + need.activations
    assert memory_need(use(batch_size=4)).batch == 4 * 600 * 131_072


def test_a_judge_in_hf_keeps_no_keys_and_values() -> None:
    judge = replace(use(), works=[Work("judge", 500, 400_000, longest=900)])
    assert memory_need(judge).single == memory_need(judge).batch == 0
    assert memory_need(replace(judge, backend="vllm")).batch > 0


def test_a_model_split_over_gpus_and_copies_on_a_cpu() -> None:
    whole, half = memory_need(use("vllm")), memory_need(use("vllm", tensor_parallel_size=2))
    assert (half.weights, half.token) == (whole.weights // 2, whole.token // 2)
    cpu = Device("cpu", "CPU", int(60e9), int(64e9))
    one, three = memory_need(use("hf", cpu)), memory_need(use("hf", cpu, data_parallel_size=3))
    assert three.weights == 3 * one.weights


def verdict(asked: Use) -> str:
    return memory_verdict(asked, memory_need(asked))


def test_what_fits() -> None:
    assert verdict(use()) == "fits."
    assert "fits, with fewer requests at a time" in verdict(use("hf", gpu(22e9, 24e9)))


def test_what_does_not_fit_says_what_to_lower() -> None:
    # vLLM wants room for one text of 131,072 tokens: 17.2 GB beside 16.1 GB of weights.
    small = use("vllm", gpu(23.5e9, 24e9))
    text = verdict(small)
    assert text.startswith("will not fit: vLLM keeps room for one text")
    most = int(text.split(" to ")[1].split()[0].replace(",", ""))
    assert verdict(replace(small, max_length=most)).startswith("fits")
    assert verdict(replace(small, max_length=most + 100)).startswith("will not fit")
    busy = verdict(use("vllm", gpu(40e9, 80e9)))
    assert "vLLM takes 72.0 GB" in busy
    assert "--gpu-memory-utilization to 0.5" in busy
    wide = replace(LLAMA, dtype="float32", weight_bytes=2 * LLAMA.weight_bytes)
    assert "use --dtype bfloat16" in verdict(use("hf", gpu(23e9, 24e9), shape=wide))
    assert "--tensor-parallel-size 2" in verdict(use("hf", gpu(11e9, 12e9, count=2)))
    copies = use("hf", Device("cpu", "CPU", int(30e9), int(32e9)), data_parallel_size=2)
    assert "lower --data-parallel-size" in verdict(copies)


def test_seconds_at_full_speed_in_closed_form() -> None:
    shape = replace(LLAMA, used_parameters=10**9, weight_bytes=2 * 10**9, cache=())
    slow_memory = least_seconds(use(shape=shape), Speed(flops=1e12, bandwidth=1e9))
    assert slow_memory["score"] == pytest.approx(2e9 * 100_000 / 1e12)
    # 500 responses, 128 at a time: 4 × 512 steps, each reads 2 GB at 1 GB/s.
    assert slow_memory["respond"] == pytest.approx(2e9 * 20_000 / 1e12 + 4 * 512 * 2)
    slow_units = least_seconds(use(shape=shape), Speed(flops=1e12, bandwidth=1e15))
    assert slow_units["respond"] == pytest.approx(2e9 * 276_000 / 1e12)
    two = least_seconds(use(shape=shape, data_parallel_size=2), Speed(1e12, 1e9))
    assert two["respond"] == pytest.approx(slow_memory["respond"] / 2)


def test_vllm_takes_its_share_of_a_gpu_only() -> None:
    assert memory_need(use("vllm", gpu_memory_utilization=0.5)).reserved == int(40e9)
    cpu = Device("cpu", "CPU", int(60e9), int(64e9))
    assert memory_need(use("vllm", cpu)).reserved is None
    assert isinstance(memory_need(use("vllm", cpu)), Memory)


def test_the_device_at_hand() -> None:
    import psutil

    device = find_device("cpu")
    assert not device.is_gpu
    assert 0 < device.free <= device.total <= psutil.virtual_memory().total
    for dtype in ("float32", "bfloat16"):
        speed = measure_speed("cpu", dtype)
        assert speed.flops > 1e6
        assert speed.bandwidth > 1e6


def test_sizes_and_times_for_people() -> None:
    assert [gigabytes(n) for n in (12, 131_072, 2.7e6, 16_060_522_496, 157e9)] == [
        *("12 bytes", "131 kB", "2.7 MB", "16.1 GB", "157 GB")
    ]
    assert [duration(s) for s in (0.01, 0.42, 12.3, 150, 4320, 97_200 * 2)] == [
        *("under 0.1 s", "0.4 s", "12 s", "2 min", "1 h 12 min", "2 d 6 h")
    ]
