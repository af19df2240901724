"""Label entries, against reading the vocabulary by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bfpo_bench.judges.labels import label_ids


def entries(tokenizer: Any, ids: list[int]) -> set[str]:
    return set(tokenizer.convert_ids_to_tokens(ids))


def test_byte_level_entries(byte_level: Any) -> None:
    yes, no = label_ids(byte_level, ["yes", "no"])
    assert entries(byte_level, yes) >= {"yes", "Yes", "Ġyes", "ĠYes"}
    assert entries(byte_level, no) >= {"no", "No", "Ġno", "ĠNo"}
    assert yes == sorted(yes)


def test_sentencepiece_entries(sentencepiece: Any) -> None:
    yes, _ = label_ids(sentencepiece, ["yes", "no"])
    assert entries(sentencepiece, yes) >= {"yes", "▁yes", "▁Yes"}


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_the_same_as_decoding_one_by_one(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    for label, found in zip(["yes", "no"], label_ids(tokenizer, ["Yes ", "NO"]), strict=True):
        by_hand = [
            i for i in range(len(tokenizer)) if tokenizer.decode([i]).strip().lower() == label
        ]
        assert found == by_hand
        assert len(by_hand) >= 3


def test_added_and_special_tokens_count() -> None:
    from tokenizers import AddedToken, Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    # No decoder, as in tokenizer files written by hand: the marks stay in the text.
    vocabulary = {"▁yes": 0, "Ġyes": 1, "yesterday": 2, "no": 3, "ynyes": 4}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="no"))
    plain.add_tokens([AddedToken(" YES")])
    plain.add_special_tokens([AddedToken("yes", special=True)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain)
    assert label_ids(tokenizer, ["yes", "no", "maybe"]) == [[0, 1, 5, 6], [3], []]


def test_150_000_entries_are_decoded_in_one_call() -> None:
    from tokenizers import Tokenizer, decoders, models

    vocabulary = {f"Ġword{i}": i for i in range(150_000)} | {"Ġyes": 150_000, "no": 150_001}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="no"))
    plain.decoder = decoders.ByteLevel()
    sizes: list[int] = []

    def decode_batch(rows: list[list[int]], **options: Any) -> list[str]:
        sizes.append(len(rows))
        return list(plain.decode_batch(rows, **options))

    # Nothing else of a tokenizer is at hand, so nothing else can be called once per entry.
    backend = SimpleNamespace(decode_batch=decode_batch)
    tokenizer = SimpleNamespace(get_vocab=plain.get_vocab, backend_tokenizer=backend)
    assert label_ids(tokenizer, ["yes", "no"]) == [[150_000], [150_001]]
    assert sizes == [150_002]
