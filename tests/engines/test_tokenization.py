"""The border between context and continuation is lm-eval's, token for token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.tokenization import encode, encode_pairs, fit_pair, fit_prompt


@pytest.fixture(scope="module")
def lm_eval_hf(tiny_llama: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(str(tiny_llama), device="cpu", dtype="float32", batch_size=1)


@pytest.mark.parametrize(
    ("context", "continuation"),
    [
        ("Question: is it so?\nAnswer:", " yes"),
        ("Question: is it so?\nAnswer:  ", "yes"),
        ("one tw", "o three"),
        # One token spans the border, and the text has fewer tokens than the context alone.
        ("the bi", "ke is mine and yours"),
        ("the bi", "kes"),
        ("Ünï→cödé", " 日本語"),
        ("a", " a"),
    ],
)
def test_pairs_are_split_as_lm_eval_splits_them(
    lm_eval_hf: Any, context: str, continuation: str
) -> None:
    ours = encode_pairs(lm_eval_hf.tokenizer, [(context, continuation)])[0]
    assert ours[1]
    assert ours == tuple(lm_eval_hf._encode_pair(context, continuation))


def test_empty_context_becomes_one_prefix_token(lm_eval_hf: Any) -> None:
    tokenizer = lm_eval_hf.tokenizer
    context, continuation = encode_pairs(tokenizer, [("", "hello there")])[0]
    assert context == [lm_eval_hf.prefix_token_id]
    assert continuation == tokenizer("hello there", add_special_tokens=False)["input_ids"]


def test_a_continuation_that_begins_with_the_prefix_token_lends_it(lm_eval_hf: Any) -> None:
    tokenizer = lm_eval_hf.tokenizer
    context, continuation = encode_pairs(tokenizer, [("", tokenizer.bos_token + "hello")])[0]
    assert context == [tokenizer.bos_token_id]
    assert tokenizer.bos_token_id not in continuation


def test_bos_is_not_given_twice(lm_eval_hf: Any) -> None:
    tokenizer = lm_eval_hf.tokenizer
    ids = encode(tokenizer, tokenizer.bos_token + "hello")
    assert ids.count(tokenizer.bos_token_id) == 1


def test_empty_continuation_is_refused(lm_eval_hf: Any) -> None:
    with pytest.raises(BadInput, match="no token of its own"):
        encode_pairs(lm_eval_hf.tokenizer, [("context", "")])[0]


def test_long_contexts_are_cut_on_the_left() -> None:
    assert fit_pair([1, 2, 3, 4], [5, 6], max_length=4) == ([2, 3, 4], [5, 6], 1)
    assert fit_pair([1, 2, 3], [5, 6], max_length=4) == ([1, 2, 3], [5, 6], 0)
    with pytest.raises(BadInput, match="longer than the context window"):
        fit_pair([1], [2, 3, 4], max_length=2)


def test_prompts_leave_room_for_new_tokens() -> None:
    assert fit_prompt([1, 2, 3, 4], max_new_tokens=2, max_length=5) == ([2, 3, 4], 1)
    assert fit_prompt([1, 2], max_new_tokens=2, max_length=5) == ([1, 2], 0)
    with pytest.raises(BadInput, match="no room"):
        fit_prompt([1], max_new_tokens=5, max_length=5)
