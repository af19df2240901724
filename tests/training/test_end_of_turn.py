"""A trained model stops where the template ends a turn, whatever the base model's EOS token is."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.hf.generate import end_ids
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.dry_run import dry_run
from bfpo_bench.training.recipe_file import load_recipe
from bfpo_bench.training.train import train
from tests.training.toy_tokenizers import CHATML, ENDLESS, MISTRAL, ZEPHYR, byte_level

SFT = """
method: mine
kind: sft
precision: fp32
data: [{name: one, pairs: chat, files: [chat.jsonl]}]
optimization:
  {learning_rate: 1e-2, pairs_per_update: 4, per_device_train_batch_size: 4, max_steps: 40,
   lr_scheduler_type: constant}
"""
ON_POLICY = """
method: mine
kind: reward
precision: fp32
data: [{name: one, pairs: chat, files: [chat.jsonl]}]
rewards:
  helpful: {function: "tests.training.conftest:lengths"}
  safe: {function: "tests.training.conftest:lengths"}
combination: linear
combination_parameters: {weight: 0.5}
rollout: {num_generations: 4, max_completion_length: 12}
optimization: {learning_rate: 1e-9, pairs_per_update: 4, per_device_train_batch_size: 4,
  max_steps: 1}
"""
ASKED = {"role": "user", "content": "What colour is the sky?"}


def base_with(template: str) -> Path:
    """A base model whose EOS is not the one that ChatML ends a turn with, as Qwen2.5's."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = copy.deepcopy(byte_level())
    tokenizer.chat_template = template
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained("base")
    tokenizer.save_pretrained("base")
    rows = [{"messages": [ASKED, {"role": "assistant", "content": "Blue."}]}] * 8
    Path("chat.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return Path("base")


def test_chatml_on_a_base_with_another_eos(work_with: Callable[[str], None]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    work_with(SFT)
    base = base_with(CHATML)
    train(load_recipe("mine.yaml", base=str(base)), Path("out"), device="cpu")
    tokenizer = AutoTokenizer.from_pretrained("out")
    turn = tokenizer.convert_tokens_to_ids("<|im_end|>")
    # Where transformers, vLLM and this package look for what ends a response.
    generation = json.loads(Path("out/generation_config.json").read_text())
    assert generation["eos_token_id"] == [tokenizer.eos_token_id, turn]
    model = AutoModelForCausalLM.from_pretrained("out")
    assert end_ids(model, tokenizer) == {tokenizer.eos_token_id, turn}
    asked = tokenizer.apply_chat_template(
        [ASKED], add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    found = model.generate(**asked, max_new_tokens=12, do_sample=False)[0]
    answer = found[asked["input_ids"].shape[1] :].tolist()
    assert tokenizer.decode(answer) == "Blue.<|im_end|>"

    # Rollouts stop there too, also of a base model that does not name the token.
    Path("out/generation_config.json").write_text('{"eos_token_id": 1, "repetition_penalty": 9.0}')
    Path("mine.yaml").write_text(ON_POLICY)
    record = train(load_recipe("mine.yaml", base="out"), Path("on-policy"), device="cpu")
    [first] = [one for one in record["curves"] if "completions/clipped_ratio" in one]
    assert first["completions/clipped_ratio"] == 0
    assert first["completions/mean_length"] == len(answer)
    generation = json.loads(Path("on-policy/generation_config.json").read_text())
    assert generation["eos_token_id"] == [1, turn]
    assert generation["repetition_penalty"] == 9.0


PAIRWISE = """
method: mine
loss: dpo
precision: fp32
data: [{name: one, pairs: bfpo, files: [pairs.jsonl]}]
optimization: {pairs_per_update: 4, per_device_train_batch_size: 4, max_steps: 1}
"""


@pytest.mark.parametrize("recipe", [SFT, PAIRWISE])
def test_an_end_in_plain_text_is_refused(recipe: str, work_with: Callable[[str], None]) -> None:
    work_with(recipe)
    base = base_with(CHATML.replace("<|im_end|>", "<|end of turn|>"))
    wanted = load_recipe("mine.yaml", base=str(base))
    for start in (
        lambda: train(wanted, Path("out"), device="cpu"),
        lambda: dry_run(wanted, Path("out"), Progress(False)),
    ):
        with pytest.raises(
            BadInput, match=r"ends an answer with '<\|end of turn\|>\\n', of which nothing is a sp"
        ):
            start()
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("template", "ends", "missing"),
    [
        (CHATML, ["<|im_end|>"], []),
        (ZEPHYR, ["</s>"], []),
        (MISTRAL, ["</s>"], []),
        (ENDLESS, [], ["</s>"]),
        (CHATML.replace("<|im_end|>", "<|im_end|></s>"), ["<|im_end|>", "</s>"], []),
    ],
)
def test_what_ends_an_answer(template: str, ends: list[str], missing: list[str]) -> None:
    tokenizer: Any = byte_level()
    chat = ChatTemplate(tokenizer, template)
    chat.teach_end()
    assert tokenizer.convert_ids_to_tokens(chat.ends) == ends
    assert tokenizer.convert_ids_to_tokens(chat.missing) == missing


def test_a_tokenizer_without_any_end() -> None:
    tokenizer = copy.deepcopy(byte_level())
    tokenizer.eos_token = None
    with pytest.raises(BadInput, match="would never stop"):
        ChatTemplate(tokenizer, ENDLESS).teach_end()
