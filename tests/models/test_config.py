"""What config files say: models that cannot be evaluated are refused, everywhere alike; sizes can
be read of every architecture; settings for generation are named where they are not used.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

import bfpo_bench
from bfpo_bench import redteam
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.hf.load import load_causal_model
from bfpo_bench.engines.open import open_engine
from bfpo_bench.engines.protocol import EngineOptions, GenerateRequest
from bfpo_bench.estimate.dry_run import dry_run
from bfpo_bench.estimate.shape import _cache_layers
from bfpo_bench.evaluation import resolve as request
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.models.config import (
    cached_values,
    find_causal_model,
    hidden,
    intermediate,
    number,
    unused_settings,
)
from bfpo_bench.redteam.request import check_request as check_redteam
from tests.toy_models import SMALL, weights_of

T5 = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}
BART = {
    "model_type": "bart",
    "architectures": ["BartForConditionalGeneration"],
    "is_encoder_decoder": True,
}
BERT = {"model_type": "bert", "architectures": ["BertForMaskedLM"]}
CLIP = {"model_type": "clip", "architectures": ["CLIPModel"], "text_config": {}}
QWEN2_VL = {"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"]}
LLAVA = {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}
OMNI = {"model_type": "qwen2_5_omni", "architectures": ["X"], "thinker_config": {}}

ENCODER = r"holds an encoder-decoder model \((t5|bart)\), and no engine here scores or continues"
MASKED = r"holds a masked language model \(BertForMaskedLM\), which looks at the words to come"
OTHER = "holds a model of type clip, which transformers knows and does not count among the causal"
SENSES = r"holds a multimodal model \(\w+\) that .* no causal .* the vllm backend serves many"


def configure(folder: Path, config: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def evaluation(folder: Path) -> EvaluateOptions:
    return EvaluateOptions(
        str(folder),
        suite="mini",
        judge="keyword",
        backend="hf",
        device="cpu",
        tasks=("advbench",),
    )


def judge(folder: Path) -> Any:
    return choose_judge(
        JudgeOptions("harmbench-llama2-13b-standard", judge_model=str(folder), backend="hf")
    )


def attack(folder: Path) -> Any:
    prompts = folder.parent / "prompts.jsonl"
    prompts.write_text('{"prompt": "hello"}\n', encoding="utf-8")
    return check_redteam(
        redteam.RedteamOptions(
            str(folder),
            prompts=str(prompts),
            judge="keyword",
            ranker="reward:model",
            backend="hf",
            output=folder.parent / "o",
        )
    )


@pytest.mark.parametrize(
    ("config", "sentence"),
    [(T5, ENCODER), (BART, ENCODER), (BERT, MASKED), (CLIP, OTHER)]
    + [(config, SENSES) for config in (QWEN2_VL, LLAVA, OMNI)],
)
def test_one_sentence_wherever_a_model_is_named(
    folder: Path, config: dict[str, Any], sentence: str
) -> None:
    configure(folder, config)
    ways: list[Callable[[], Any]] = [
        lambda: request.resolve(evaluation(folder)),
        lambda: dry_run(evaluation(folder)),
        lambda: judge(folder),
        lambda: attack(folder),
    ]
    for way in ways:
        with pytest.raises(BadInput, match=sentence):
            way()


def test_what_vllm_can_take(folder: Path) -> None:
    for config, sentence in ((T5, ENCODER), (BART, ENCODER), (BERT, MASKED), (CLIP, OTHER)):
        configure(folder, config)
        with pytest.raises(BadInput, match=sentence):
            find_causal_model(str(folder), None, "vllm")
    for config in (QWEN2_VL, LLAVA, OMNI):
        configure(folder, config)
        assert find_causal_model(str(folder), None, "vllm").config == config


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]},
        {"model_type": "qwen3_5", "architectures": ["Qwen3_5ForConditionalGeneration"]},
        # The decoder of one alone; transformers writes the flag down.
        {
            "model_type": "bart",
            "architectures": ["BartForCausalLM"],
            "is_encoder_decoder": False,
        },
        {"model_type": "llama"},
        {"model_type": "of-its-own", "architectures": ["OwnForConditionalGeneration"]},
        {**LLAVA, "auto_map": {"AutoModelForCausalLM": "code.Own"}},
    ],
)
def test_what_transformers_makes_a_causal_model_of(folder: Path, config: dict[str, Any]) -> None:
    configure(folder, config)
    assert find_causal_model(str(folder), None, "hf").config == config


def test_a_multimodal_model_whose_text_alone_is_read(folder: Path) -> None:
    from transformers import AutoTokenizer, Gemma3Config, Gemma3ForConditionalGeneration

    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    vision = {**SMALL, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    size = len(AutoTokenizer.from_pretrained(folder))
    config = Gemma3Config(text_config={**SMALL, **heads, "vocab_size": size}, vision_config=vision)
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    found = find_causal_model(str(folder), None, "hf")
    assert "vision_config" in found.config
    engine = open_engine("hf", EngineOptions(str(folder), dtype="float32", device="cpu"))
    [[(_, response)]] = list(engine.respond([GenerateRequest("the bike is", Sampling(4), 0)]))
    assert response.tokens
    tokens = engine.tokenizer("the bike is", return_tensors="pt").input_ids
    logits = model(input_ids=tokens).logits[0, -1].log_softmax(-1).detach()
    [row] = engine.label_logprobs(["the bike is"], [5, 6])
    assert row == pytest.approx([float(logits[5]), float(logits[6])], abs=1e-4)
    engine.close()


# --------------------------------------------------------- the dry run loads in thought


def test_a_dry_run_misses_the_weights_that_loading_would(folder: Path) -> None:
    with weights_of(folder) as weights:
        del weights["model.layers.1.mlp.down_proj.weight"]
    with pytest.raises(BadInput) as loading:
        load_causal_model(folder, "auto", torch.device("cpu"))
    with pytest.raises(BadInput) as dry:
        dry_run(evaluation(folder))
    assert str(dry.value) == str(loading.value)
    assert "1 weights of the model in" in str(dry.value)
    # A judge's, too.
    with pytest.raises(BadInput, match="1 weights of the model in"):
        dry_run(
            EvaluateOptions(
                **{
                    **vars(evaluation(folder)),
                    "model": str(whole(folder)),
                    "judge": "harmbench-llama2-13b-standard",
                    "judge_model": str(folder),
                }
            )
        )


def whole(folder: Path) -> Path:
    """A copy whose last layer is not asked for, so that nothing is missing."""
    other = Path(shutil.copytree(folder, folder.parent / "whole"))
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    configure(other, {**config, "num_hidden_layers": 1})
    return other


@pytest.mark.parametrize("task", ["advbench", "toxigen"])
def test_a_dry_run_sees_tokens_beyond_the_embedding(folder: Path, task: str) -> None:
    with weights_of(folder) as weights:
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            weights[name] = weights[name][:50].clone()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    configure(folder, {**config, "vocab_size": 50})
    options = EvaluateOptions(**{**vars(evaluation(folder)), "tasks": (task,)})
    with pytest.raises(BadInput, match="the model knows tokens 0 to 49; they do not belong"):
        dry_run(options)


# ------------------------------------------------------------------------- sizes

SIZES = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 8}


def test_one_number_for_all_layers() -> None:
    config = transformers.LlamaConfig(**SIZES, num_key_value_heads=2, intermediate_size=48)
    assert (hidden(config), intermediate(config)) == (32, 48)
    assert cached_values(config) == [2 * 2 * 8] * 4


def test_a_number_for_each_layer() -> None:
    """Gemma 3n: a list of widths, and layers that share what others cache."""
    config = transformers.Gemma3nTextConfig(
        **SIZES, num_key_value_heads=2, intermediate_size=[48, 64, 48, 48]
    )
    assert intermediate(config) == 64
    assert cached_values(config) == [2 * 2 * 8] * 4


def test_a_config_that_refuses_to_answer_for_all_layers() -> None:
    """Gemma 4: heads of the layers that see all are larger than those of the others."""
    config = transformers.Gemma4TextConfig(
        **SIZES,
        num_key_value_heads=2,
        global_head_dim=16,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
    )
    with pytest.raises(Exception, match="per-layer attribute"):
        _ = config.head_dim
    assert number(config, "head_dim") == 16
    assert cached_values(config)[:3] == [2 * 2 * 8] * 3
    assert cached_values(config)[3] % (2 * 16) == 0
    assert len(_cache_layers(config)) == 4 - config.num_kv_shared_layers


def test_without_heads_nothing_is_cached() -> None:
    config = transformers.MambaConfig(hidden_size=32, num_hidden_layers=3)
    assert cached_values(config) == [0, 0, 0]
    assert _cache_layers(config) == ()
    assert number(SimpleNamespace(flag=True), "flag") is None


def test_every_causal_config_of_transformers_can_be_read() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    read = 0
    for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        try:
            made = getattr(transformers, CONFIG_MAPPING_NAMES[name])()
        except Exception:  # made of other configs, or of a package that is not here
            continue
        config = made.get_text_config(decoder=True)
        assert hidden(config) >= 1
        assert intermediate(config) >= 1
        assert all(value >= 0 for value in cached_values(config))
        assert all(layer.values >= 0 for layer in _cache_layers(config))
        read += 1
    assert read > 100


# ------------------------------------------------------- settings that are not used


def ask(folder: Path, settings: Any, name: str = "generation_config.json") -> None:
    before = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps({**before, **settings}), encoding="utf-8")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, []),
        # What the suite says of itself, and values that do nothing.
        ({"temperature": 0.6, "top_p": 0.9, "top_k": 20, "do_sample": True, "max_length": 99}, []),
        ({"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "num_beams": 1}, []),
        ({"suppress_tokens": [], "bad_words_ids": None}, []),
        ({"repetition_penalty": 1.3}, ["repetition_penalty 1.3 was not used"]),
        (
            {"no_repeat_ngram_size": 3, "repetition_penalty": 1.05, "suppress_tokens": [5, 6]},
            ["repetition_penalty 1.05, no_repeat_ngram_size 3 and suppress_tokens were not used"],
        ),
    ],
)
def test_the_mark(folder: Path, settings: dict[str, Any], told: list[str]) -> None:
    ask(folder, settings)
    found = unused_settings(find_model(str(folder)))
    assert found == [f"the checkpoint's own {one}" for one in told]


def test_where_there_is_no_generation_config_the_models_counts(folder: Path) -> None:
    (folder / "generation_config.json").write_text("{", encoding="utf-8")
    assert unused_settings(find_model(str(folder))) == []
    (folder / "generation_config.json").unlink()
    ask(folder, {"repetition_penalty": 1.2}, "config.json")
    assert unused_settings(find_model(str(folder))) == [
        "the checkpoint's own repetition_penalty 1.2 was not used"
    ]


def test_it_stands_beside_what_was_generated_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    ask(folder, {"repetition_penalty": 1.3})
    results = bfpo_bench.evaluate(
        str(folder),
        suite="mini",
        judge="keyword",
        backend="hf",
        device="cpu",
        tasks=["advbench", "toxigen"],
        limit=1,
        output=tmp_path / "run",
    )
    mark = "the checkpoint's own repetition_penalty 1.3 was not used"
    assert mark in results.tasks["bfpo_advbench"].marks
    assert mark not in results.tasks["bfpo_toxigen"].marks
