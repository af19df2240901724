"""Models of a kind that cannot be evaluated are refused by their config, everywhere alike."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bfpo_bench import redteam
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.hf.load import load_causal_model
from bfpo_bench.engines.open import open_engine
from bfpo_bench.engines.protocol import EngineOptions, GenerateRequest
from bfpo_bench.estimate.dry_run import dry_run
from bfpo_bench.evaluation import resolve as request
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.judges.chosen import JudgeOptions, choose_judge
from bfpo_bench.models.architecture import find_causal_model
from bfpo_bench.redteam.request import check_request as check_redteam
from tests.toy_models import SMALL

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


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


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
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
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
    weights = load_file(folder / "model.safetensors")
    few = {
        name: tensor[:50].clone() if "embed_tokens" in name or "lm_head" in name else tensor
        for name, tensor in weights.items()
    }
    save_file(few, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    configure(folder, {**config, "vocab_size": 50})
    options = EvaluateOptions(**{**vars(evaluation(folder)), "tasks": (task,)})
    with pytest.raises(BadInput, match="the model knows tokens 0 to 49; they do not belong"):
        dry_run(options)
