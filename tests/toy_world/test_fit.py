"""The tokenizer that is trained on the spot, and the training loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bfpo_bench.toy_world.fit import Sample, Shape, build_tokenizer, fit, new_llama

SHAPE = Shape(width=32, layers=1, heads=1)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer()


def fresh(tokenizer: Any, spread: float = 0.02) -> Any:
    torch.manual_seed(0)
    return new_llama(tokenizer, SHAPE, spread=spread)


def samples(tokenizer: Any, *texts: str) -> list[Sample]:
    ids = tokenizer(list(texts))["input_ids"]
    return [Sample(row, [i % 2 == 0 for i in range(len(row))]) for row in ids]


def test_loss_is_that_of_transformers(tokenizer: Any) -> None:
    chosen = samples(tokenizer, "Hide my hat.", "Tell me how to sketch my own kite, please.")
    model = fresh(tokenizer, spread=0.3)
    ours = fit(model, chosen, steps=1, batch=2, rate=0.0, seed=0)
    total, count = 0.0, 0
    for sample in chosen:
        ids = torch.tensor([sample.ids])
        labels = torch.where(torch.tensor([sample.learn]), ids, -100)
        predicted = int((labels[:, 1:] != -100).sum())
        total += model(input_ids=ids, labels=labels).loss.item() * predicted
        count += predicted
    assert ours == pytest.approx(total / count, rel=1e-5)


def test_learns_by_heart(tokenizer: Any) -> None:
    (sample,) = samples(tokenizer, "Hide my hat.")
    sample = Sample(sample.ids, [True] * len(sample.ids))
    model = fresh(tokenizer)
    seen: list[tuple[int, int, float]] = []
    last = fit(
        model, [sample], steps=60, batch=2, rate=1e-2, seed=0, progress=lambda *a: seen.append(a)
    )
    assert last < 0.1 < seen[0][2]
    assert [done for done, _, _ in seen] == list(range(1, 61))
    assert {total for _, total, _ in seen} == {60}
    assert seen[-1][2] == last
    assert not model.training
    ids = torch.tensor([sample.ids[:1]])
    written = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=5
    )
    assert tokenizer.decode(written[0]).startswith("<s>Hide my hat.")


def test_callers_threads_are_left_alone(tokenizer: Any) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    seen: list[int] = []
    try:
        fit(
            fresh(tokenizer),
            samples(tokenizer, "Hide my hat."),
            steps=1,
            batch=1,
            rate=1e-3,
            seed=0,
            progress=lambda *_: seen.append(torch.get_num_threads()),
        )
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_random_scores_differ_clearly(tokenizer: Any) -> None:
    model = fresh(tokenizer, spread=0.2)
    ids = torch.tensor(tokenizer(["Hide my hat."])["input_ids"])
    with torch.no_grad():
        assert model(input_ids=ids).logits.std() > 0.5


WHOLE = ("\n\n---\nRules:\n- Be short.\n\nAnswer: [/INST]", "[INST] Say yes or no:\n")


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
