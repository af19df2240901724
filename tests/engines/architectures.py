"""Tiny random models of many architectures, with weights large enough that mistakes show."""

from __future__ import annotations

from functools import cache
from typing import Any

VOCABULARY = 101
WINDOW = 4
"""Sliding windows of those that have one: shorter than the requests of the tests."""

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
GPT = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64} | {
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEAD = {"head_dim": 8}

PACKABLE: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", GROUPED),
    "llama, llama3 rope": (
        "Llama",
        GROUPED
        | {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            }
        },
    ),
    "mistral, window": ("Mistral", GROUPED | {"sliding_window": WINDOW}),
    "mistral": ("Mistral", GROUPED | {"sliding_window": None}),
    "mixtral": ("Mixtral", GROUPED | {"num_local_experts": 4}),
    "qwen2": ("Qwen2", GROUPED),
    "qwen2, window": (
        "Qwen2",
        GROUPED | {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", GROUPED | HEAD),
    "gemma": ("Gemma", GROUPED | HEAD),
    "gemma2": ("Gemma2", GROUPED | HEAD | {"sliding_window": WINDOW, "query_pre_attn_scalar": 8}),
    "gemma2, strong caps": (
        "Gemma2",
        GROUPED | HEAD | {"sliding_window": WINDOW, "final_logit_softcapping": 2.0},
    ),
    "gemma3": (
        "Gemma3Text",
        GROUPED
        | HEAD
        | {"sliding_window": WINDOW, "sliding_window_pattern": 2, "query_pre_attn_scalar": 8},
    ),
    "phi": ("Phi", SIZES),
    "phi3": ("Phi3", GROUPED | {"pad_token_id": 0}),
    "phi3, window": ("Phi3", GROUPED | {"pad_token_id": 0, "sliding_window": WINDOW}),
    "gpt-neox": ("GPTNeoX", SIZES),
    "gpt-neox, parallel off": ("GPTNeoX", SIZES | {"use_parallel_residual": False}),
    "gpt-j": ("GPTJ", GPT | {"rotary_dim": 4}),
    "olmo": ("Olmo", GROUPED),
    "olmo2": ("Olmo2", GROUPED),
    "olmo3": ("Olmo3", GROUPED | {"sliding_window": WINDOW}),
    "smollm3": ("SmolLM3", GROUPED),
    "stablelm": ("StableLm", GROUPED),
    "granite": ("Granite", GROUPED | {"logits_scaling": 3.0, "residual_multiplier": 0.5}),
    "cohere": ("Cohere", GROUPED | {"logit_scale": 0.25}),
    "cohere2": ("Cohere2", GROUPED | {"sliding_window": WINDOW, "logit_scale": 0.25}),
    "gpt2": ("GPT2", GPT),
    "opt": ("OPT", SIZES | {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "falcon": (
        "Falcon",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    ),
}

FALLING_BACK: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom (ALiBi)": (
        "Bloom",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 3, "n_head": 4},
    ),
    "mpt (ALiBi)": (
        "Mpt",
        {"vocab_size": VOCABULARY, "d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 64},
    ),
    "falcon (ALiBi)": ("Falcon", PACKABLE["falcon"][1] | {"alibi": True}),
    "gpt-neo (local layers that count in the row)": (
        "GPTNeo",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48}
        | {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]}
        | {"bos_token_id": 1, "eos_token_id": 2},
    ),
    "mamba": (
        "Mamba",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3},
    ),
}

RECURRENT: dict[str, tuple[str, dict[str, Any]]] = {
    "recurrent gemma": (
        "RecurrentGemma",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 96}
        | {"num_hidden_layers": 3, "num_attention_heads": 4, "lru_width": 32}
        | {"attention_window_size": 16, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
    ),
    "rwkv": (
        "Rwkv",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3}
        | {"attention_hidden_size": 32, "context_length": 64, "bos_token_id": 1, "eos_token_id": 2},
    ),
    "minimax": (
        "MiniMax",
        GROUPED | HEAD | {"num_local_experts": 4, "block_size": 16, "num_hidden_layers": 4},
    ),
    "jamba": (
        "Jamba",
        GROUPED
        | {"num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1}
        | {"expert_layer_period": 2, "expert_layer_offset": 1, "num_experts": 4}
        | {"mamba_d_state": 8, "mamba_dt_rank": 8, "use_mamba_kernels": False, "pad_token_id": 0},
    ),
    "falcon-h1": (
        "FalconH1",
        GROUPED
        | HEAD
        | {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8}
        | {"mamba_chunk_size": 16},
    ),
}
"""Models that carry a state from token to token, and take the padding into it or not."""


def make(name: str, **changes: Any) -> Any:
    """A new model in evaluation mode, the same weights every time."""
    import torch
    import transformers

    kind, settings = (PACKABLE | FALLING_BACK | RECURRENT)[name]
    config = getattr(transformers, f"{kind}Config")(**{**settings, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(0, 0.3)
    return model


@cache
def shared(name: str) -> Any:
    """The same for tests that do not change it."""
    return make(name)


def next_token_logprobs(model: Any, ids: list[int]) -> Any:
    """Full softmax after each token of one sequence, by the model's own forward, float64."""
    import torch

    return model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
