"""Clipping, against cutting the offsets of the whole text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bfpo_bench.judges.clip import clip
from tests.judges.conftest import CountingTokenizer

KINDS = ["byte_level", "sentencepiece"]
TEXTS = st.one_of(
    st.text(max_size=300),
    st.lists(
        st.sampled_from(
            ["the model", " ", "yes", "😀", "</s>", "\n", "é", "a" * 40, "\0", "[/INST]"]
        ),
        max_size=200,
    ).map("".join),
)


def spans(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return [tuple(span) for span in encoded["offset_mapping"]]


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=TEXTS, limit=st.integers(1, 20))
@example(text="😀" * 30, limit=1)
def test_as_if_the_whole_text_had_been_tokenized(
    kind: str, request: pytest.FixtureRequest, text: str, limit: int
) -> None:
    tokenizer = request.getfixturevalue(kind)
    whole = spans(tokenizer, text)
    first, last = (clip(tokenizer, [text], limit, keep=side)[0] for side in ("start", "end"))
    if len(whole) <= limit:
        assert first == last == text
        return
    # The longest piece that no token beyond the cut reaches into.
    assert first == text[: min(whole[limit - 1][1], whole[limit][0])]
    assert last == text[max(whole[-limit][0], whole[-limit - 1][1]) :]


@pytest.mark.parametrize("kind", KINDS)
def test_a_character_of_several_tokens_is_left_out_whole(
    kind: str, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(kind)
    text = "no" + "😀" * 100
    for limit in range(1, 20):
        clipped = clip(tokenizer, [text], limit, keep="start")[0]
        assert text.startswith(clipped)
        assert "\ufffd" not in clipped
        assert len(spans(tokenizer, clipped)) <= limit


@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", ["a" * 1_000_000, "the model " * 100_000, "x\0" * 500_000, " " * 1_000_000]
)
def test_a_megabyte_is_not_tokenized(
    kind: str, side: Any, text: str, request: pytest.FixtureRequest
) -> None:
    tokenizer = CountingTokenizer(request.getfixturevalue(kind))
    (clipped,) = clip(tokenizer, [text], 512, keep=side)
    assert (tokenizer.calls, tokenizer.characters) == (1, 512 * 8)
    assert 0 < len(clipped) < 60_000
    assert text.startswith(clipped) if side == "start" else text.endswith(clipped)
    assert len(spans(tokenizer, clipped)) in range(505, 515)


def test_one_token_may_be_any_length() -> None:
    """A run of unknown characters is one token here: the look has to widen until it ends."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel({"<unk>": 0, "no": 1}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>")
    # The first look ends inside the one token wanted.
    assert clip(tokenizer, ["x" * 100 + " no"], 1, keep="start") == ["x" * 100]
    text = "x" * 100_000 + " no no no"
    assert clip(tokenizer, [text], 2, keep="start") == ["x" * 100_000 + " no"]
    assert clip(tokenizer, [text[::-1]], 2, keep="end") == ["on " + "x" * 100_000]
    assert clip(tokenizer, [text, ""], 4, keep="start") == [text, ""]


def test_nothing_to_clip(byte_level: Any) -> None:
    assert clip(byte_level, [], 512, keep="start") == []
    assert clip(byte_level, ["", "yes"], 512, keep="start") == ["", "yes"]
