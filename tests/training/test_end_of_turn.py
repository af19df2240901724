"""A trained model stops where the template ends a turn, whatever the base model's EOS token is."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.hf.generate import end_ids
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.dry_run import dry_run
from bfpo_bench.training.train import train
from tests.training.conftest import Mine
from tests.training.toy_tokenizers import CHATML, ENDLESS, MISTRAL, ZEPHYR, byte_level

CHAT = ("data.0.pairs=chat", "data.0.files=[chat.jsonl]")
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


def test_chatml_on_a_base_with_another_eos(mine: Mine) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    fast = "optimization={learning_rate: 1e-2, lr_scheduler_type: constant, max_steps: 40}"
    small = ("optimization.pairs_per_update=4", "optimization.per_device_train_batch_size=4")
    taught = mine("sft", *CHAT, fast, *small, base=base_with(CHATML))
    train(taught, Path("out"), device="cpu")
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
    still = ("optimization.learning_rate=1e-9", "optimization.max_steps=1")
    rollouts = mine("reward", *CHAT, *still, "rollout.max_completion_length=12", base="out")
    record = train(rollouts, Path("on-policy"), device="cpu")
    [first] = [one for one in record["curves"] if "completions/clipped_ratio" in one]
    assert first["completions/clipped_ratio"] == 0
    assert first["completions/mean_length"] == len(answer)
    generation = json.loads(Path("on-policy/generation_config.json").read_text())
    assert generation["eos_token_id"] == [1, turn]
    assert generation["repetition_penalty"] == 9.0


@pytest.mark.parametrize("kind", ["sft", "preference"])
def test_an_end_in_plain_text_is_refused(kind: str, mine: Mine) -> None:
    wanted = mine(kind, base=base_with(CHATML.replace("<|im_end|>", "<|end of turn|>")))
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
