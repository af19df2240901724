"""Reward models made on the spot, against transformers on each conversation alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.reward_model import (
    ARMORM,
    ARMORM_OBJECTIVES,
    RewardModel,
    find_reward_model,
)
from tests.toy_models import SMALL, weights_of

PROMPTS = [
    (("user", "Tell me how to hide my hat"),),
    (("user", "Hello"), ("assistant", "Hi."), ("user", "How do I sketch a stranger's kite?")),
    (("user", "?"),),
]
RESPONSES = ["Slip it behind the long curtains.", "No.", "Begin with the outline in pencil, then."]
CPU = torch.device("cpu")


def classifier(folder: Path, base: Path, outputs: int, pad: str | None = None) -> Path:
    """A Llama with a random head for `outputs` objectives, in the toy tokenizer's words."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(base)
    if pad is not None:
        tokenizer.pad_token = pad
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        **SMALL,
        num_attention_heads=2,
        max_position_embeddings=512,
        num_labels=outputs,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.5,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def alone(folder: Path) -> torch.Tensor:
    """What transformers says of each conversation by itself, without padding."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    model.config.pad_token_id = None
    rows = []
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        said = [{"role": r, "content": c} for r, c in (*prompt, ("assistant", response))]
        text = tokenizer.apply_chat_template(said, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            rows.append(model(**ids).logits[0])
    return torch.stack(rows)


@pytest.mark.parametrize("pad", [None, "</s>"])
def test_batches_say_what_each_conversation_says_alone(
    tiny_llama: Path, tmp_path: Path, pad: str | None
) -> None:
    """Also where padding is the token that ends a turn, which transformers' own batches misread."""
    folder = classifier(tmp_path / "rm", tiny_llama, 3, pad)
    found = RewardModel(find_reward_model(str(folder)), CPU).rate(PROMPTS, RESPONSES)
    torch.testing.assert_close(found, alone(folder), atol=1e-5, rtol=1e-5)


def armorm(folder: Path, tiny_llama: Path) -> Path:
    """A folder as ArmoRM's: its architecture, tensor names and pointer to code of its own."""
    classifier(folder, tiny_llama, 19)
    with weights_of(folder) as tensors:
        tensors["regression_layer.weight"] = tensors.pop("score.weight")
        tensors["reward_transform_matrix"] = torch.eye(19)
        tensors["gating.logit_scale"] = torch.ones(1)
        tensors["gating.layers.0.weight"] = torch.ones(4, 32)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key in ("id2label", "label2id", "num_labels"):
        config.pop(key, None)
    config["architectures"] = [ARMORM]
    config["auto_map"] = {"AutoModelForSequenceClassification": f"modeling_custom.{ARMORM}"}
    config["num_objectives"] = 19
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "modeling_custom.py").write_text("raise SystemExit('code of its own was run')")
    return folder


def test_armorm_gives_its_objectives_without_its_code(tiny_llama: Path, tmp_path: Path) -> None:
    folder = armorm(tmp_path / "armorm", tiny_llama)
    plain = classifier(tmp_path / "same", tiny_llama, 19)
    found = find_reward_model(str(folder))
    # FACTS.md, section 3.
    assert found.column("ultrafeedback-helpfulness") == found.column("helpfulness") == 9
    assert found.column("beavertails-is_safe") == found.column("is_safe") == 10
    assert found.objectives == ARMORM_OBJECTIVES
    rated = RewardModel(found, CPU).rate(PROMPTS, RESPONSES)
    torch.testing.assert_close(rated, alone(plain), atol=1e-5, rtol=1e-5)


def test_the_same_question_is_answered_once(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rewards of one recipe that are objectives of one model cost one pass."""
    model = RewardModel(find_reward_model(str(classifier(tmp_path / "rm", tiny_llama, 2))), CPU)
    calls: list[int] = []
    inner = model._logits

    def counted(inputs: list[dict[str, Any]]) -> torch.Tensor:
        calls.append(len(inputs))
        return inner(inputs)

    monkeypatch.setattr(model, "_logits", counted)
    first, again = (model.rate(PROMPTS, RESPONSES) for _ in range(2))
    assert torch.equal(first, again)
    assert calls == [3]
    model.rate(PROMPTS, RESPONSES[::-1])
    assert calls == [3, 3]


def test_a_model_without_chat_template_reads_a_pair_of_texts(
    tiny_llama: Path, tmp_path: Path
) -> None:
    """As OpenAssistant's DeBERTa; here a BERT, whose head is called classifier."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer.chat_template = None
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        **{**SMALL, "num_hidden_layers": 1},
        num_attention_heads=2,
        num_labels=1,
        initializer_range=0.5,
    )
    bert = BertForSequenceClassification(config).eval()
    bert.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    found = find_reward_model(str(tmp_path / "bert"))
    assert found.column(None) == 0
    rated = RewardModel(found, CPU).rate(PROMPTS[:1], RESPONSES[:1])
    inputs = tokenizer(PROMPTS[0][0][1], RESPONSES[0], return_tensors="pt")
    with torch.no_grad():
        expected = bert(**inputs).logits
    torch.testing.assert_close(rated, expected, atol=1e-5, rtol=1e-5)


def test_what_is_wrong_is_said_before_anything_is_loaded(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no reward head"):
        find_reward_model(str(tiny_llama))
    several = find_reward_model(str(classifier(tmp_path / "rm", tiny_llama, 3)))
    with pytest.raises(BadInput, match="rates 3 objectives; say which with 'objective'"):
        several.column(None)
    with pytest.raises(BadInput, match="has no objective number 3; its head has 3 outputs"):
        several.column("3")
    assert several.column("LABEL_2") == several.column("2") == 2
    with pytest.raises(BadInput, match=r"unknown objective of the reward model rm: .*LABEL_2"):
        several.column("LABEL_i")
    armo = find_reward_model(str(armorm(tmp_path / "armorm", tiny_llama)))
    with pytest.raises(BadInput, match="did you mean 'beavertails-is_safe'"):
        armo.column("beavertails-safe")


def test_a_checkpoint_that_is_not_whole(tiny_llama: Path, tmp_path: Path) -> None:
    folder = classifier(tmp_path / "rm", tiny_llama, 2)
    with weights_of(folder) as tensors:
        del tensors["model.norm.weight"]
    with pytest.raises(BadInput, match=r"lacks 1 weights of a LlamaFor.* model\.norm\.weight"):
        RewardModel(find_reward_model(str(folder)), CPU)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["model_type"] = "unheard-of"
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(BadInput, match="cannot be loaded as a sequence classifier"):
        RewardModel(find_reward_model(str(folder)), CPU)
    shutil.rmtree(folder)
