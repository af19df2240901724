"""Shapes against the models that transformers makes, memory against figures worked out by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bfpo_bench.common.device import Device, find_device
from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.options import Loading
from bfpo_bench.estimate.memory import Memory, ModelUse, memory_need, memory_verdict
from bfpo_bench.estimate.shape import CacheLayer, ModelShape, model_shape
from bfpo_bench.estimate.tokens import Workload
from bfpo_bench.estimate.units import duration, gigabytes
from bfpo_bench.models.checkpoint import ModelFiles, find_model

# Llama 3.1 8B: 8,030,261,248 parameters; 32 layers with 8 heads of 128 for keys and values.
LLAMA = ModelShape(
    parameters=8_030_261_248,
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
SCORE = Workload("score", requests=1000, read=100_000, scored=4000, longest=300)
RESPOND = Workload("respond", requests=500, read=20_000, generated=256_000, longest=600)


def gpu(free: float, total: float = 80e9, count: int = 1) -> Device:
    return Device("cuda", "GPU H100", int(free), int(total), count)


def use(backend: str = "hf", device: Device | None = None, **options: Any) -> ModelUse:
    window = options.pop("max_length", None)
    shape = options.pop("shape", LLAMA)
    loading = Loading(**options)
    return ModelUse(shape, backend, loading, device or gpu(79e9), [SCORE, RESPOND], window)


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
    judge = replace(use(), works=[Workload("judge", 500, 400_000, longest=900)])
    assert memory_need(judge).single == memory_need(judge).batch == 0
    assert memory_need(replace(judge, backend="vllm")).batch > 0


def test_a_model_split_over_gpus_and_copies_on_a_cpu() -> None:
    whole, half = memory_need(use("vllm")), memory_need(use("vllm", tensor_parallel_size=2))
    assert (half.weights, half.token) == (whole.weights // 2, whole.token // 2)
    cpu = Device("cpu", "CPU", int(60e9), int(64e9))
    one, three = memory_need(use("hf", cpu)), memory_need(use("hf", cpu, data_parallel_size=3))
    assert three.weights == 3 * one.weights


def verdict(asked: ModelUse) -> str:
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


def test_sizes_and_times_for_people() -> None:
    assert [gigabytes(n) for n in (12, 131_072, 2.7e6, 16_060_522_496, 157e9)] == [
        *("12 bytes", "131 kB", "2.7 MB", "16.1 GB", "157 GB")
    ]
    assert [duration(s) for s in (0.01, 0.42, 12.3, 150, 4320, 97_200 * 2)] == [
        *("under 0.1 s", "0.4 s", "12 s", "2 min", "1 h 12 min", "2 d 6 h")
    ]


# ------------------------------------------------------------------------- shape

SMALL = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GEMMA = {**SMALL, "head_dim": 16, "sliding_window": 8}
LATENT = {
    **SMALL,
    "num_key_value_heads": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "first_k_dense_replace": 4,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "grouped queries": ("Llama", SMALL),
    "tied embeddings": ("Llama", {**SMALL, "tie_word_embeddings": True}),
    "a head of its own size": ("Qwen3", {**SMALL, "head_dim": 24}),
    "one sliding window": ("Mistral", {**SMALL, "sliding_window": 8}),
    "every other layer slides": ("Gemma2", GEMMA),
    "five of six layers slide": ("Gemma3", {**GEMMA, "num_hidden_layers": 7}),
    "names of GPT-2": (
        "GPT2",
        {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    ),
    "latent attention": ("DeepseekV3", LATENT),
}
Maker = Callable[[str, dict[str, Any]], tuple[ModelFiles, Any]]


@pytest.fixture
def make(tiny_llama: Path, tmp_path: Path) -> Maker:
    """A random model of some kind as files, and the same model loaded."""

    def made(kind: str, settings: dict[str, Any]) -> tuple[ModelFiles, Any]:
        import transformers

        text = "Text" if kind == "Gemma3" else ""
        config = getattr(transformers, f"{kind}{text}Config")(**settings)
        suffix = "LMHeadModel" if kind == "GPT2" else "ForCausalLM"
        model = getattr(transformers, f"{kind}{suffix}")(config)
        model.save_pretrained(tmp_path / kind)
        shutil.copy(tiny_llama / "tokenizer.json", tmp_path / kind)
        return find_model(str(tmp_path / kind)), model.eval()

    return made


@pytest.mark.parametrize(("kind", "settings"), MODELS.values(), ids=MODELS.keys())
def test_weights_and_cache_are_those_of_the_model(
    make: Maker, kind: str, settings: dict[str, Any]
) -> None:
    files, model = make(kind, settings)
    shape = model_shape(files, "float32")
    parameters = list(model.parameters())
    assert shape.parameters == sum(p.numel() for p in parameters)
    assert shape.weight_bytes == sum(p.numel() * p.element_size() for p in parameters)
    assert sum(shape.stored_bytes.values()) == shape.weight_bytes
    for tokens in (1, 7, 8, 9, 40):
        cache = model(torch.zeros(1, tokens, dtype=torch.long), use_cache=True).past_key_values
        kept = [part for layer in cache.layers for part in (layer.keys, layer.values)]
        assert shape.cache_bytes(tokens) == sum(p.numel() * p.element_size() for p in kept)


def test_the_fixture_model_in_two_dtypes(tiny_llama: Path) -> None:
    from transformers import AutoModelForCausalLM

    files = find_model(str(tiny_llama))
    for dtype in ("float32", "bfloat16"):
        model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=dtype)
        shape = model_shape(files, dtype)
        assert shape.weight_bytes == sum(p.numel() * p.element_size() for p in model.parameters())
        cache = model(torch.zeros(3, 11, dtype=torch.long), use_cache=True).past_key_values
        kept = [part for layer in cache.layers for part in (layer.keys, layer.values)]
        assert 3 * shape.cache_bytes(11) == sum(p.numel() * p.element_size() for p in kept)


def test_packed_weights_keep_their_bytes(tiny_llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "packed"
    shutil.copytree(tiny_llama, folder)
    tensors = load_file(folder / "model.safetensors")
    whole = model_shape(find_model(str(folder)), "bfloat16")
    name = next(name for name in tensors if name.endswith("q_proj.weight"))
    numbers = tensors.pop(name).numel()
    tensors[name.replace("weight", "qweight")] = torch.zeros(numbers // 8, dtype=torch.int32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    packed = model_shape(find_model(str(folder)), "bfloat16")
    assert packed.quantised
    assert not whole.quantised
    assert whole.weight_bytes - packed.weight_bytes == 2 * numbers - numbers // 2


def test_a_config_that_transformers_does_not_know(tiny_llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    shutil.copytree(tiny_llama, folder)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"llama"', '"of-tomorrow"'))
    said = (
        r"transformers cannot read .*/new/config\.json \(.*of-tomorrow.*\); the model may need a "
    )
    with pytest.raises(BadInput, match=f"{said}newer transformers, or --trust-remote-code"):
        model_shape(find_model(str(folder)), "float32")
