"""What the files of a checkpoint say of its kind, its sizes, and how it would generate by itself.

Architectures write their sizes down in many ways: some have a list with a number for each layer
where others have one (Gemma 3n), some have no such thing (state-space models), and some refuse to
answer for all layers at once with an exception of their own (Gemma 4).

An evaluation generates by the suite's settings alone, on every engine, so that models are compared
under the same ones. Temperature, nucleus and length are the suite's to say; what else a checkpoint
would do to its logits is told beside the figures.
"""

from __future__ import annotations

from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.foreign import foreign_json
from bfpo_bench.models.checkpoint import MOST_CONFIG, ModelFiles, find_model

# -------------------------------------------------------------------------- kind

_CAUSAL = ("ForCausalLM", "LMHeadModel")


def find_causal_model(
    model: str, revision: str | None, backend: str, trust_remote_code: bool = False
) -> ModelFiles:
    """A model that is to score and continue texts, found and seen to be of a kind that can.

    Args:
        backend: the engine that is to load it.

    Raises:
        BadInput: there is none, or it is of another kind.
    """
    files = find_model(model, revision, trust_remote_code)
    _check_kind(files, backend)
    return files


def _check_kind(files: ModelFiles, backend: str) -> None:
    config = files.config
    named = config.get("architectures")
    names = [str(name) for name in named] if isinstance(named, list) else []
    own_code = config.get("auto_map")
    if isinstance(own_code, dict) and "AutoModelForCausalLM" in own_code:
        return  # what it is, its code knows
    usual = bool(names) and all(name.endswith(_CAUSAL) for name in names)
    if usual and not config.get("is_encoder_decoder"):
        return  # nearly all of them, and transformers takes seconds to import
    _check_unusual(files, names, backend)


def _check_unusual(files: ModelFiles, names: list[str], backend: str) -> None:
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )

    config, kind = files.config, str(files.config.get("model_type"))
    if kind not in CONFIG_MAPPING:
        return  # loading says so
    known: Any = CONFIG_MAPPING[kind]
    if config.get("is_encoder_decoder", getattr(known, "is_encoder_decoder", False)):
        raise BadInput(
            f"{files.folder} holds an encoder-decoder model ({kind}), and no engine here scores or "
            "continues texts with one; give a causal language model (a decoder alone)."
        )
    if names and all(name.endswith("ForMaskedLM") for name in names):
        raise BadInput(
            f"{files.folder} holds a masked language model ({names[0]}), which looks at the words "
            "to come, so that its log-likelihoods of a continuation mean nothing; give a causal "
            "language model."
        )
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return  # some multimodal ones are among them: Gemma 3 and 4, Llama 4, Qwen 3.5
    writes = (
        kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        or kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES  # those that hear, too
        or "thinker_config" in config  # those that also speak
    )
    if not writes:
        raise BadInput(
            f"{files.folder} holds a model of type {kind}, which transformers knows and does not "
            "count among the causal language models; give one of those."
        )
    if backend != "vllm":
        raise BadInput(
            f"{files.folder} holds a multimodal model ({kind}) that transformers loads no causal "
            "language model from; the vllm backend serves many of these with text alone (--backend "
            "vllm), as servers do (--base-url), or give a model of text alone."
        )


# ------------------------------------------------------------------------- sizes


def number(config: Any, name: str) -> int | None:
    """A whole number; the largest where there is one for each layer, None where there is none."""
    try:
        value = getattr(config, name, None)
    except Exception:  # what a config raises is its own affair
        layers = _layers(config)
        values = [own for layer in layers if (own := number(layer, name)) is not None]
        return max(values, default=None)
    if isinstance(value, (list, tuple)):
        value = max((one for one in value if isinstance(one, int)), default=None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def hidden(config: Any) -> int:
    """Width of the residual stream; 1 where the config does not tell."""
    return number(config, "hidden_size") or 1


def intermediate(config: Any) -> int:
    """Width of the feed-forward layer; four times the residual stream where it is not told."""
    return number(config, "intermediate_size") or 4 * hidden(config)


def cached_values(config: Any) -> list[int]:
    """Numbers that each layer caches for a token: keys and values; 0 for a model without heads."""
    count = number(config, "num_hidden_layers") or 1
    layers = _layers(config)
    if len(layers) != count:
        return [_values(config)] * count
    return [_values(layer) for layer in layers]


def _values(config: Any) -> int:
    heads = number(config, "num_attention_heads")
    if heads is None:
        return 0
    latent = number(config, "kv_lora_rank")
    if latent:
        # Multi-head latent attention: the latent vector and the part that carries positions.
        return latent + (number(config, "qk_rope_head_dim") or 0)
    size = number(config, "head_dim") or hidden(config) // heads
    return 2 * (number(config, "num_key_value_heads") or heads) * size


def _layers(config: Any) -> list[Any]:
    """The configs of single layers, where transformers makes them."""
    try:
        return list(config.per_layer_config)
    except Exception:  # older configs, those of remote code, and those without layers
        return []


# ---------------------------------------------------- settings that are not used


_IDLE: dict[str, float | None] = {
    "repetition_penalty": 1,
    "encoder_repetition_penalty": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "no_repeat_ngram_size": 0,
    "penalty_alpha": 0,
    "guidance_scale": 1,
    "num_beams": 1,
    "min_length": 0,
    "min_new_tokens": 0,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "sequence_bias": None,
    "exponential_decay_length_penalty": None,
    "watermarking_config": None,
}
"""Settings of transformers' GenerationConfig, and the values at which they do nothing."""


def unused_settings(files: ModelFiles) -> list[str]:
    """A mark for the tasks that generate, where the checkpoint asks for more than the suite."""
    path = files.folder / "generation_config.json"
    content: Any = files.config  # where older checkpoints have them
    if path.is_file():
        try:
            content = foreign_json(path, MOST_CONFIG)
        except (OSError, ValueError):
            return []
    if not isinstance(content, dict):
        return []
    told = [
        f"{name} {value}" if isinstance(value, (int, float)) else name
        for name, idle in _IDLE.items()
        if (value := content.get(name)) and value != idle
    ]
    if not told:
        return []
    *first, last = told
    names = f"{', '.join(first)} and {last} were" if first else f"{last} was"
    return [f"the checkpoint's own {names} not used"]
