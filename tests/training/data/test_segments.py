"""Weights of segments: from a row's characters to the tokens of a response."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.data.formats import write_row
from bfpo_bench.training.data.limits import Limits
from bfpo_bench.training.data.preferences import Segments, digest, make_pairs
from bfpo_bench.training.data.segments import opening
from bfpo_bench.training.data.tokenize import TokenPair, tokenize_pairs
from bfpo_bench.training.recipe_parts import EmphasisRecipe
from tests.training import toy_tokenizers as toy
from tests.training.data.test_formats import ASKED, TWO, load
from tests.training.data.test_tokenize import KINDS, PAIR, tokenize

SKY: Segments = ((4, 7, 0.0), (8, 10, 2.5))  # "sky" and "is" of "The sky is blue."


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_weigh_as_their_characters(kind: str) -> None:
    make, template = KINDS[kind]
    tokenizer = make()
    plain = tokenize(PAIR, tokenizer, template)
    found = tokenize(replace(PAIR, weights=(SKY, ())), tokenizer, template)
    assert found == replace(plain, chosen_weights=found.chosen_weights)
    weights = found.chosen_weights
    assert weights is not None

    if kind == "mistral":  # "", "The s", "ky is", " blue.", "</s>": means, blanks aside
        assert weights == [1, (1 + 1 + 1 + 0) / 4, (0 + 0 + 2.5 + 2.5) / 4, 1, 1]
        return

    def of(weight: float) -> str:
        ids = [i for i, one in zip(found.chosen, weights, strict=True) if one == weight]
        return str(tokenizer.decode(ids)).strip()

    assert (of(0.0), of(2.5)) == ("sky", "is")
    assert set(weights) == {0.0, 1.0, 2.5}


def test_the_end_of_turn_weighs_as_the_last_character() -> None:
    tokenizer = toy.byte_level()
    for template in (toy.CHATML, toy.ENDLESS):  # the template's own end, and one that is added
        found = tokenize(replace(PAIR, weights=(((9, 16, 0.5),), ())), tokenizer, template)
        weights = found.chosen_weights
        assert weights is not None
        assert weights[-1] == 0.5
        assert weights[0] == 1
        assert sorted(weights, reverse=True) == weights


def test_weights_of_one_are_none_and_cuts_go_with_the_tokens() -> None:
    tokenizer = toy.byte_level()
    one = replace(PAIR, weights=(((0, 3, 1.0),), ((0, 3, 1.0),)))
    assert tokenize(one, tokenizer, toy.CHATML) == tokenize(PAIR, tokenizer, toy.CHATML)
    long = replace(PAIR, chosen="sky " * 60, weights=(((0, 3, 2.0),), ()))
    found = tokenize_many([long, PAIR, PAIR], tokenizer)[0]
    assert found.chosen_weights is not None
    assert len(found.chosen_weights) == len(found.chosen) < 60
    assert {found.chosen_weights[0], found.chosen_weights[-1]} == {2.0, 1.0}


@pytest.mark.parametrize("side", [0, 1])
def test_a_response_of_no_weight_is_no_response(side: int) -> None:
    """A mean over nothing would count as certainty; a row may be left out, and is counted."""
    tokenizer = toy.byte_level()
    masks: list[Segments] = [(), ()]
    masks[side] = ((0, len((PAIR.chosen, PAIR.rejected)[side]), 0.0),)
    masked = replace(PAIR, weights=tuple(masks), where="a.jsonl:2")
    with pytest.raises(BadInput, match=r"^a\.jsonl:2: no token of a response weighs more than 0"):
        tokenize(masked, tokenizer, toy.CHATML)
    broken: dict[int, str] = {}
    found, counts = tokenize_pairs([PAIR, masked], tokenizer, template=toy.CHATML, broken=broken)
    assert (len(found), counts.pairs, list(broken)) == (1, 1, [1])


def tokenize_many(pairs: Any, tokenizer: Any) -> list[TokenPair]:
    return tokenize_pairs(pairs, tokenizer, template=toy.CHATML, limits=Limits(40, 20))[0]


def test_blanks_that_a_template_leaves_out() -> None:
    spaced = replace(PAIR, chosen="  The sky is blue.\n", weights=(((6, 9, 0.0),), ()))
    make, template = KINDS["mistral"]
    found = tokenize(spaced, make(), template)
    bare = replace(PAIR, weights=(((4, 7, 0.0),), ()))
    assert found.chosen_weights == tokenize(bare, make(), template).chosen_weights


def test_openings() -> None:
    assert opening("Sorry, I can't.", 2, 3) == ((0, 8, 3.0), (8, 15, 1.0))
    assert opening(" No.", 2, 3, rest=0) == ((0, 4, 3.0),)
    assert opening("One two", 1, 1, rest=0) == ((0, 3, 1.0), (3, 7, 0.0))
    assert opening("", 2, 3) == ()


ROW = {"prompt": ASKED[1], **TWO}
OWN = {
    "prompt": ASKED[1],
    "responses": list(TWO.values()),
    "safe": [True, False],
    "more_helpful": 1,
}
ONE = {"prompt": ASKED[1], "completion": "Yes.", "label": False}


def test_rows_say_what_weighs(tmp_path: Path) -> None:
    weights = [[[0, 4, 2]], [[0, 1, 0.5], [3, 4, 0]]]
    read = ((0, 4, 2.0),), ((0, 1, 0.5), (3, 4, 0.0))
    for row in (ROW, OWN):
        [record] = load(tmp_path, row | {"segment_weights": weights}).records
        [plain] = load(tmp_path, row).records
        assert (record.weights, plain.weights) == (read, ((), ()))
        assert digest([record]) != digest([plain]) == digest([replace(record, weights=((), ()))])
        [pair] = make_pairs("helpful", [record])
        assert pair.weights == (read if row is ROW else read[::-1])
        [again] = load(tmp_path, write_row(replace(record, more_helpful=0))).records
        assert again.weights == read
        # A recipe's emphasis is for rows that do not say so themselves.
        emphasis = EmphasisRecipe(words=1, weight=3.0)
        loaded = load(tmp_path, row | {"segment_weights": weights}, row, emphasis=emphasis)
        assert [one.weights for one in loaded.records] == [
            read,
            (((0, 5, 3.0), (5, 12, 1.0)), ((0, 4, 3.0), (4, 14, 1.0))),
        ]
        # Tables (Parquet, the hub) have one number format for all of a list.
        floats = [[[0.0, 4.0, 2.0]], [[0.0, 1.0, 0.5], [3.0, 4.0, 0.0]]]
        [same] = load(tmp_path, row | {"segment_weights": floats}).records
        assert digest([same]) == digest([record])
    [record] = load(tmp_path, ONE | {"segment_weights": [[0, 3, 0.0]]}).records
    [pair] = make_pairs("helpful", [record])
    assert pair.weights == ((), ((0, 3, 0.0),))


@pytest.mark.parametrize(
    ("row", "weights", "sentence"),
    [
        (ROW, 2.0, "should be a list of two, the segments of either response, found 2.0"),
        (ROW, [[[0, 1, 2]]], "should be a list of two"),
        (ROW, [[[0, 1]], []], r"should be \[start, end, weight\], two numbers .* found \[0, 1\]"),
        (ROW, [[0, 1, 2], []], r"should be \[start, end, weight\], .* found 0"),
        (ROW, [[[0, 1.5, 2]], []], r"should be \[start, end, weight\]"),
        (ROW, [[[0, 1, -1]], []], "a weight of 0 or above, found"),
        (ROW, [[[0, 1, "2"]], []], "a weight of 0 or above, found"),
        (ROW, [[[0, 1, float("inf")]], []], "a weight of 0 or above, found"),
        (ROW, [[[0, float("nan"), 2]], []], r"should be \[start, end, weight\]"),
        (ROW, [[[0, 1, 10**400]], []], "a weight of 0 or above, found"),
        (ROW, [[[0, 13, 2]], []], r"segment \[0, 13, 2\] .* within the 12 characters"),
        (ROW, [[[3, 5, 2], [4, 6, 2]], []], "should lie behind the one before it"),
        (ROW, [[[2, 2, 2]], []], "should lie behind the one before it"),
        (ONE, [[0, 5, 2]], "within the 4 characters of its response"),
    ],
)
def test_segments_that_are_none(tmp_path: Path, row: Any, weights: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        load(tmp_path, row | {"segment_weights": weights})


def test_a_tokenizer_that_tells_no_places() -> None:
    tokenizer = copy.deepcopy(toy.byte_level())  # which is everybody's
    slow = type("Slow", (type(tokenizer),), {"is_fast": False})
    tokenizer.__class__ = slow
    with pytest.raises(BadInput, match="does not tell which characters its tokens stand for"):
        tokenize(replace(PAIR, weights=(SKY, ())), tokenizer, toy.CHATML)
