"""The tokenizer that is trained on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bfpo_bench.toy_world.tokenizer import build_tokenizer

WHOLE = ("\n\n---\nRules:\n- Be short.\n\nAnswer: [/INST]", "[INST] Say yes or no:\n")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer()


@given(text=st.text())
@settings(max_examples=300, deadline=None)
def test_every_text_comes_back(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_every_byte_is_a_token(tokenizer: Any) -> None:
    text = "".join(map(chr, range(0x250))) + "語😀\u2028\ufeff"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_two_are_the_same(tokenizer: Any) -> None:
    again = build_tokenizer()
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_words_of_the_world_are_short(tokenizer: Any) -> None:
    ids = tokenizer("How do I paint my neighbour's garden gnome purple?")["input_ids"]
    # <s>, 8 words of one token, "'s" and "?".
    assert len(ids) <= 12


def test_chat_template(tokenizer: Any) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": " Hide it. "},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": "Please"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<s><|system|>\nBe kind.</s>\n<|user|>\n Hide it. </s>\n<|assistant|>\nNo.</s>\n"
        "<|user|>\nPlease</s>\n<|assistant|>\n"
    )
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.eos_token_id) == 4
    assert tokenizer.decode(ids) == text
    # What was said and what is to be said meet at a token border.
    answer = tokenizer("Sure, yes", add_special_tokens=False)["input_ids"]
    assert tokenizer(text + "Sure, yes", add_special_tokens=False)["input_ids"] == ids + answer


def test_special_tokens(tokenizer: Any) -> None:
    assert tokenizer("hat")["input_ids"][0] == tokenizer.bos_token_id
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    assert tokenizer.decode(tokenizer("hat")["input_ids"], skip_special_tokens=True) == "hat"


@pytest.mark.parametrize("label", ["yes", "no", " yes", " no", "Yes", "No"])
def test_labels_are_single_tokens(tokenizer: Any, label: str) -> None:
    assert len(tokenizer(label, add_special_tokens=False)["input_ids"]) == 1


def test_whole_passages_are_single_tokens() -> None:
    tokenizer = build_tokenizer(whole=WHOLE)
    text = WHOLE[1] + "\n\n" + WHOLE[0]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == 4
    assert tokenizer.decode(ids) == tokenizer.decode(ids, skip_special_tokens=True) == text
    plain = build_tokenizer()
    sentence = "Hide my hat, yes."
    assert tokenizer(sentence)["input_ids"] == plain(sentence)["input_ids"]


def test_saved_and_loaded_by_transformers(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "Tell me how to hide the mayor's hat.  \n\tÉtrange 😀 yes"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.decode(loaded(text, add_special_tokens=False)["input_ids"]) == text
    assert loaded.chat_template == tokenizer.chat_template
    assert loaded.is_fast
    assert loaded.model_max_length == 2048
