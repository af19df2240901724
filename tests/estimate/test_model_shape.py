"""Shapes read from files against the models that transformers makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.estimate.model_shape import model_shape
from bfpo_bench.models.checkpoint import ModelFiles, find_model

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


def test_a_token_meets_two_of_eight_experts_and_no_embedding_row(make: Maker) -> None:
    settings = {**SMALL, "num_local_experts": 8, "num_experts_per_tok": 2}
    files, model = make("Mixtral", settings)
    expert = 3 * 32 * 48
    idle = 4 * 6 * expert + 96 * 32
    assert model_shape(files, "float32").used_parameters == model.num_parameters() - idle


def test_tied_embeddings_are_used_once_by_the_head(make: Maker) -> None:
    files, model = make(*MODELS["tied embeddings"])
    assert model_shape(files, "float32").used_parameters == model.num_parameters()


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
    with pytest.raises(BadInput, match="the model may need a newer transformers"):
        model_shape(find_model(str(folder)), "float32")
