"""What kind of model a folder holds, and which engine can evaluate it, told by its config alone."""

from __future__ import annotations

from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.models.checkpoint import ModelFiles, find_model

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
