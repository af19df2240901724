"""Pairs as tokens: what the model is asked with, what it answers, and what is cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines import tokenization
from bfpo_bench.toy_world.fit import build_tokenizer
from bfpo_bench.training.data.limits import Limits
from bfpo_bench.training.data.preferences import Pair, make_pairs
from bfpo_bench.training.data.tokenize import TokenPair, tokenize_conversations, tokenize_pairs
from tests.training import rows
from tests.training import toy_tokenizers as toy

ASKED = (("user", "What colour is the sky?"),)
PAIR = Pair(ASKED, "The sky is blue.", "No.", True, False, "chat", margin=0.25)


def tokenize(pair: Pair, tokenizer: Any, template: str | None = None, **limits: int) -> TokenPair:
    (tokens,), _ = tokenize_pairs([pair], tokenizer, template=template, limits=Limits(**limits))
    return tokens


def written(tokenizer: Any, template: str, response: str | None) -> str:
    """The conversation as transformers renders it."""
    messages = [{"role": role, "content": content} for role, content in ASKED]
    if response is not None:
        messages.append({"role": "assistant", "content": response})
    return str(
        tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=response is None,
        )
    )


KINDS = {
    "chatml": (toy.byte_level, toy.CHATML),
    "zephyr": (lambda: toy.byte_level(begins_with_bos=True), toy.ZEPHYR),
    "mistral": (toy.sentencepiece, toy.MISTRAL),
    "mistral, bytes": (lambda: toy.byte_level(begins_with_bos=True), toy.MISTRAL),
}


@pytest.mark.parametrize("kind", KINDS)
def test_prompt_and_response_are_the_rendered_conversation(kind: str) -> None:
    make, template = KINDS[kind]
    tokenizer = make()
    tokens = tokenize(PAIR, tokenizer, template)
    for response, ids in ((PAIR.chosen, tokens.chosen), (PAIR.rejected, tokens.rejected)):
        whole = tokenization.encode(tokenizer, written(tokenizer, template, response), False)
        assert tokens.prompt + ids == whole
    assert (tokens.chosen_safe, tokens.rejected_safe, tokens.margin) == (True, False, 0.25)
    assert (tokens.source, tokens.cut) == ("chat", 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_prompt_is_what_the_model_is_asked_with_in_evaluation(kind: str) -> None:
    make, template = KINDS[kind]
    tokenizer = make()
    prompt = tokenization.encode(tokenizer, written(tokenizer, template, None), False)
    assert tokenize(PAIR, tokenizer, template).prompt == prompt
    assert prompt.count(tokenizer.bos_token_id) == template.count("bos_token")


def test_the_response_holds_its_end_of_turn() -> None:
    tokenizer = toy.byte_level()
    tokens = tokenize(PAIR, tokenizer, toy.CHATML)
    assert tokenizer.decode(tokens.prompt).endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(tokens.chosen) == "The sky is blue.<|im_end|>\n"
    assert tokenizer.decode(tokens.rejected) == "No.<|im_end|>\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_one_response_is_half_a_pair(kind: str) -> None:
    make, template = KINDS[kind]
    both = tokenize(PAIR, make(), template)
    desirable = tokenize(replace(PAIR, rejected=""), make(), template)
    undesirable = tokenize(replace(PAIR, chosen=""), make(), template)
    assert desirable == replace(both, rejected=[])
    assert undesirable == replace(both, chosen=[])


def test_a_template_that_closes_no_turn_gets_the_end_of_text() -> None:
    tokenizer = toy.byte_level()
    tokens = tokenize(PAIR, tokenizer, toy.ENDLESS)
    assert tokenizer.decode(tokens.prompt) == "user: What colour is the sky?\nassistant: "
    assert tokens.chosen[-1] == tokens.rejected[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(tokens.rejected[:-1]) == "No.\n"


def test_a_generation_prompt_that_the_conversation_does_not_hold() -> None:
    tokenizer = toy.byte_level()
    spaced = Pair(ASKED, " The sky is blue.\n", "No.", None, None, "chat")
    template = toy.THINKING.replace("m.content }}{{ eos", "m.content | trim }}{{ eos")
    tokens = tokenize(spaced, tokenizer, template)
    assert tokenizer.decode(tokens.prompt) == "<s><u>What colour is the sky?<a><think>\n"
    assert tokenizer.decode(tokens.chosen) == "The sky is blue.</s>"
    assert tokenizer.decode(tokens.rejected) == "No.</s>"


def test_a_token_across_the_border_leaves_the_prompt_alone() -> None:
    tokenizer = toy.byte_level()
    pair = Pair(ASKED, "\n\nBlue.", "No.", None, None, "chat")
    text = written(tokenizer, toy.CHATML, pair.chosen)
    prompt = tokenizer(written(tokenizer, toy.CHATML, None), add_special_tokens=False)["input_ids"]
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert whole[: len(prompt)] != prompt  # else this tests nothing
    tokens = tokenize(pair, tokenizer, toy.CHATML)
    assert tokens.prompt == prompt
    assert tokenizer.decode(tokens.prompt + tokens.chosen) == text
    assert tokenizer.decode(tokens.chosen) == "\n\nBlue.<|im_end|>\n"


def test_a_response_apart_is_not_given_the_blank_of_a_text_that_begins() -> None:
    tokenizer = toy.sentencepiece()
    text = written(tokenizer, toy.ZEPHYR, PAIR.chosen)
    prompt = tokenization.encode(tokenizer, written(tokenizer, toy.ZEPHYR, None), False)
    assert (
        tokenization.encode(tokenizer, text, False)[: len(prompt)] != prompt
    )  # this toy joins "\nT"
    alone = tokenizer(PAIR.chosen, add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(alone)[0].startswith("▁")
    tokens = tokenize(PAIR, tokenizer, toy.ZEPHYR)
    assert tokens.prompt == prompt
    pieces = "".join(tokenizer.convert_ids_to_tokens(tokens.chosen))
    assert pieces == "The▁sky▁is▁blue.</s>\n"


R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}<a>"
    "{{ m.content.split('</think>')[-1] | trim }}{{ eos_token }}{% else %}<u>{{ m.content }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<a>OPEN{% endif %}"
)
"""After DeepSeek-R1's, which leaves thoughts out of what was said before."""

THOUGHT = "<think>\nThe sky.\n</think>\n\nThe sky is blue."


@pytest.mark.parametrize(
    ("opening", "taught"),
    [("", THOUGHT), ("<think>\n", "The sky.\n</think>\n\nThe sky is blue.")],
)
def test_thoughts_are_taught_in_pairs_and_conversations(opening: str, taught: str) -> None:
    """Neither lost, nor begun twice where the prompt begins them."""
    tokenizer, template = toy.byte_level(), R1.replace("OPEN", opening)
    pair = Pair(ASKED, THOUGHT, "No.", None, None, "chat")
    tokens = tokenize(pair, tokenizer, template)
    assert tokenizer.decode(tokens.prompt) == f"<s><u>What colour is the sky?<a>{opening}"
    assert tokenizer.decode(tokens.chosen) == f"{taught}</s>"
    said = (*ASKED, ("assistant", THOUGHT))
    [ids], _ = tokenize_conversations([said], tokenizer, template)
    assert tokenizer.decode(ids) == tokenizer.decode(tokens.prompt + tokens.chosen)
    # An earlier thought is left out, as it will be when the model is asked.
    [ids], _ = tokenize_conversations([(*said, *said)], tokenizer, template)
    assert tokenizer.decode(ids).count("The sky.") == 1


def test_the_models_own_template_and_the_recipes() -> None:
    tokenizer = build_tokenizer(context=128)
    own = tokenize(PAIR, tokenizer)
    assert own == tokenize(PAIR, tokenizer, tokenizer.chat_template)
    asked = [{"role": "user", "content": ASKED[0][1]}]
    expected = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    assert own.prompt == expected
    other = tokenize(PAIR, tokenizer, toy.ENDLESS)
    assert other.prompt != own.prompt


def test_real_pairs_lose_nothing(data_dir: Path) -> None:
    tokenizer = toy.byte_level(begins_with_bos=True)
    path = data_dir / "preference" / "dpo_pairs_300_sharegpt.json"
    records = rows.read("chat", path, limit=40).records
    pairs = make_pairs("helpful", records)
    done: list[int] = []
    tokens, counts = tokenize_pairs(
        pairs, tokenizer, template=toy.CHATML, limits=Limits(100_000, 50_000), progress=done.append
    )
    assert (counts.pairs, counts.cut, counts.responses_cut, done[-1]) == (40, 0, 0, 40)
    for pair, ids in zip(pairs, tokens, strict=True):
        assert tokenizer.decode(ids.chosen) == pair.chosen + "<|im_end|>\n"
        assert tokenizer.decode(ids.rejected) == pair.rejected + "<|im_end|>\n"
        for _, content in pair.prompt:
            assert content in tokenizer.decode(ids.prompt)
    assert counts.prompt_tokens == sum(len(ids.prompt) for ids in tokens)
    assert counts.response_tokens == sum(len(i.chosen) + len(i.rejected) for i in tokens)
    assert counts.longest == max(len(i.prompt) + len(i.chosen) + len(i.rejected) for i in tokens)


def test_cuts_are_counted() -> None:
    tokenizer = toy.byte_level()
    short = Pair((("user", "Hi"),), "Yes.", "No.", None, None, "chat")
    long = Pair((("user", "sky " * 60),), "Yes.", "No.", None, None, "chat")
    wordy = Pair((("user", "Hi"),), "sky " * 60, "No.", None, None, "chat")
    limits = Limits(max_length=50, max_prompt=30)
    tokens, counts = tokenize_pairs(
        [short, long, short, wordy], tokenizer, template=toy.CHATML, limits=limits
    )
    assert (counts.pairs, counts.cut, counts.prompts_cut, counts.responses_cut) == (4, 2, 1, 1)
    assert [pair.cut > 0 for pair in tokens] == [False, True, False, False]
    assert len(tokens[1].prompt) == 30
    assert tokenizer.decode(tokens[1].prompt).endswith("<|im_end|>\n<|im_start|>assistant\n")
    # A response that was cut does not end: the model must not learn that it does.
    assert not tokenizer.decode(tokens[3].chosen).endswith("<|im_end|>\n")
    assert len(tokens[3].prompt) + len(tokens[3].chosen) == 50
    assert str(counts).endswith("; cut: 1 prompts on the left, 1 responses at the end")


def test_bos_stays_when_the_prompt_is_cut() -> None:
    tokenizer = toy.sentencepiece()
    long = Pair((("user", "sky " * 60),), "Yes.", "No.", None, None, "chat")
    short = Pair((("user", "Hi"),), "Yes.", "No.", None, None, "chat")
    for template in (toy.MISTRAL, "{{ bos_token }}" + toy.ZEPHYR):
        tokens, _ = tokenize_pairs(
            [long, short], tokenizer, template=template, limits=Limits(100, 60)
        )
        assert tokens[0].cut > 0
        assert tokens[0].prompt[0] == tokenizer.bos_token_id
        assert tokenizer.bos_token_id not in tokens[0].prompt[1:]


def test_more_than_half_cut_is_refused() -> None:
    tokenizer = toy.byte_level()
    short = Pair((("user", "Hi"),), "Yes.", "No.", None, None, "chat")
    long = Pair((("user", "sky " * 60),), "Yes.", "No.", None, None, "chat")
    limits = Limits(max_length=60, max_prompt=40)
    tokenize_pairs([short, long], tokenizer, template=toy.CHATML, limits=limits)
    with pytest.raises(
        BadInput,
        match=r"2 of 3 pairs of 'chat' are over the max_length of 60 tokens",
    ):
        tokenize_pairs([short, long, long], tokenizer, template=toy.CHATML, limits=limits)


@pytest.mark.parametrize(
    ("template", "pair", "said"),
    [
        (None, PAIR, "tokenizer has no chat template and the recipe gives none"),
        (
            toy.MISTRAL,
            Pair((("system", "Be brief."), *ASKED), "a", "b", None, None, "chat"),
            "cannot write a conversation of system, user (it refuses the messages (only user and "
            "assistant roles)); give a template that can",
        ),
        ("{% for m in messages %}", PAIR, "cannot write a conversation of user ("),
        (
            "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
            PAIR,
            "leaves out what the assistant says",
        ),
        (
            toy.THINKING.replace("{{ m.content }}", "{{ m.content | replace('blue', 'red') }}"),
            PAIR,
            "neither begins a conversation with its prompt nor ends it",
        ),
    ],
)
def test_templates_that_will_not_do(template: str | None, pair: Pair, said: str) -> None:
    with pytest.raises(BadInput) as error:
        tokenize(pair, toy.byte_level(), template)
    assert said in str(error.value)


def test_no_pairs() -> None:
    tokens, counts = tokenize_pairs([], toy.byte_level(), template=toy.CHATML)
    assert (tokens, counts.pairs, counts.longest) == ([], 0, 0)
