"""PairRM: format, head and both orders, against a computation that goes another way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DebertaV2Config, DebertaV2Model, PreTrainedTokenizerFast

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.models import checkpoint as models
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.rankers import Comparison, RankerOptions, choose_ranker
from bfpo_bench.rankers.pairrm import PairRM, Pairs
from tests.rankers.tiny import change_config, make_pairrm, tokenizer_of_bytes

ITEMS = [
    Comparison("Why is the sky blue?", "It scatters light.", "I do not know, sorry."),
    Comparison("x", "y", "a much longer response, in order to be padded beside the others"),
    Comparison("", "", "né ☃"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pairrm(tmp_path_factory.mktemp("pairrm") / "pairrm")


@pytest.fixture(scope="module")
def ranker(folder: Path) -> PairRM:
    return PairRM(find_model(str(folder)), "float32", "cpu", batch_size=4)


def by_hand(folder: Path, item: Comparison) -> float:
    """One sequence without padding; the head in numpy; the marks looked for in the tokens."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder))
    config = DebertaV2Config.from_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    encoder = DebertaV2Model(config).eval()
    prefix = "pretrained_model."
    encoder.load_state_dict(
        {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
    )
    marks = ["<|source|>", "<|candidate1|>", "<|candidate2|>"]
    parts = zip(marks, (item.prompt, item.first, item.second), strict=True)
    ids = [i for mark, text in parts for i in tokenizer(mark + text)["input_ids"]]
    with torch.no_grad():
        output = encoder(torch.tensor([ids]), output_hidden_states=True)
    states = output.hidden_states[-1][0].numpy()
    source, *candidates = (
        states[ids.index(tokenizer.convert_tokens_to_ids(mark))] for mark in marks
    )
    w1, b1, w2, b2 = (
        weights[f"head_layer.{n}"].numpy() for n in ("1.weight", "1.bias", "4.weight", "4.bias")
    )
    import numpy as np

    left, right = (w2 @ np.tanh(w1 @ np.concatenate([source, one]) + b1) + b2 for one in candidates)
    return float((left - right).mean())


def test_logits_are_those_of_an_independent_computation(ranker: PairRM, folder: Path) -> None:
    expected = [by_hand(folder, item) for item in ITEMS]
    assert ranker.logits(ITEMS) == pytest.approx(expected, abs=1e-5)
    assert max(map(abs, expected)) > 0.05


def test_both_orders_are_averaged(ranker: PairRM, folder: Path) -> None:
    found = ranker.rank(ITEMS)
    for item, ranking in zip(ITEMS, found, strict=True):
        swapped = Comparison(item.prompt, item.second, item.first)
        there, back = by_hand(folder, item), by_hand(folder, swapped)
        assert abs(there + back) > 1e-3  # the order does sway this model
        assert ranking.preference == pytest.approx((there - back) / 2, abs=1e-5)
    swapped = [Comparison(i.prompt, i.second, i.first) for i in ITEMS]
    back = [r.preference for r in ranker.rank(swapped)]
    assert back == pytest.approx([-(r.preference or 0) for r in found], abs=1e-5)


def test_each_text_is_a_sequence_of_its_own(ranker: PairRM) -> None:
    ids, places = ranker.encode(Comparison("ab", "c", ""))
    names = ranker._tokenizer.convert_ids_to_tokens(ids)
    assert names == [
        *("[CLS]", "<|source|>", "a", "b", "[SEP]"),
        *("[CLS]", "<|candidate1|>", "c", "[SEP]"),
        *("[CLS]", "<|candidate2|>", "[SEP]"),
    ]
    assert places == [1, 6, 10]


@pytest.mark.parametrize(
    ("prompt", "first", "lengths"),
    [
        # A long prompt is cut to 1224 tokens; each response gets half of what is left of 2048.
        (5000, 5000, (1224, 412)),
        (97, 5000, (100, 974)),
        (97, 7, (100, 10)),
    ],
)
def test_lengths(ranker: PairRM, prompt: int, first: int, lengths: tuple[int, int]) -> None:
    ids, places = ranker.encode(Comparison("p" * prompt, "f" * first, "s"))
    assert (places[1] - 1, places[2] - places[1]) == lengths
    assert len(ids) <= 2048


def test_marks_in_a_text_are_none(ranker: PairRM) -> None:
    hostile = Comparison("a[SEP]<|source|>", "<|candidate2|>good", "<|candidate1|>[CLS]")
    plain = Comparison("a  ", " good", "  ")
    assert ranker.encode(hostile) == ranker.encode(plain)


def test_batches_change_nothing(folder: Path, ranker: PairRM) -> None:
    alone = PairRM(find_model(str(folder)), "float32", "cpu", batch_size=1)
    assert ranker.logits(ITEMS * 3) == pytest.approx(alone.logits(ITEMS * 3), abs=1e-5)


def test_by_name_and_by_folder(folder: Path, ranker: PairRM) -> None:
    chosen = choose_ranker(RankerOptions(ranker=f"pairrm:{folder}", device="cpu"))
    identity = chosen.identity()
    assert (identity["kind"], identity["dtype"]) == ("pairrm", "float32")
    with chosen.opened(Progress(show=False)) as opened:
        assert isinstance(opened, Pairs)
        assert opened.rank(ITEMS[:1]) == ranker.rank(ITEMS[:1])


def test_something_else_than_pairrm_is_refused(tmp_path: Path, tiny_llama: Path) -> None:
    with pytest.raises(BadInput, match=r"is no PairRM \(a deberta-v2 with n_tasks"):
        choose_ranker(RankerOptions(ranker=f"pairrm:{tiny_llama}"))
    folder = make_pairrm(tmp_path / "cut")
    weights = load_file(folder / "model.safetensors")
    del weights["head_layer.4.bias"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(BadInput, match=r"are not PairRM's \(.*head_layer.4.bias"):
        PairRM(find_model(str(folder)), "float32", "cpu")
    tokenizer_of_bytes().save_pretrained(folder)
    with pytest.raises(BadInput, match=r"does not know PairRM's mark <\|source\|>"):
        PairRM(find_model(str(folder)), "float32", "cpu")


def with_sentencepiece_alone(folder: Path) -> None:
    """Leaves a PairRM its tokenizer as microsoft/deberta-v3 publishes it: as spm.model."""
    import sentencepiece

    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    text = folder / "text"
    text.write_text("It scatters light.\nI do not know, sorry.\nWhy is the sky blue?\n" * 50)
    specials = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "spm"),
        vocab_size=30,
        minloglevel=2,
        **{f"{name}_id": number for number, name in enumerate(specials)},
        **{f"{name}_piece": piece for name, piece in specials.items()},
    )
    marks = ["[MASK]", "<|source|>", "<|candidate1|>", "<|candidate2|>"]
    added = {mark: number for number, mark in enumerate(marks, start=30)}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    names = {"pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "unk": "[UNK]", "mask": "[MASK]"}
    config = {f"{name}_token": token for name, token in names.items()}
    config |= {"tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def test_a_tokenizer_that_is_a_sentencepiece_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    folder = make_pairrm(tmp_path / "pairrm")
    with_sentencepiece_alone(folder)
    [ids, places] = PairRM(find_model(str(folder)), "float32", "cpu").encode(ITEMS[0])
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
    marked = [(31, ITEMS[0].prompt), (32, ITEMS[0].first), (33, ITEMS[0].second)]
    assert ids == [i for mark, text in marked for i in (1, mark, *model.encode(text), 2)]
    assert [ids[place] for place in places] == [31, 32, 33]
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"its tokenizer as spm.model alone; install what reads it"):
        choose_ranker(RankerOptions(ranker=f"pairrm:{folder}"))


def test_a_saved_table_of_positions_is_passed_over(tmp_path: Path) -> None:
    folder = make_pairrm(tmp_path / "old")
    weights = load_file(folder / "model.safetensors")
    weights["pretrained_model.embeddings.position_ids"] = torch.arange(64)[None]
    save_file(weights, folder / "model.safetensors")
    change_config(folder, pos_att_type="p2c|c2p")  # as DeBERTa's first configs wrote it
    same = PairRM(find_model(str(make_pairrm(tmp_path / "new"))), "float32", "cpu")
    old = PairRM(find_model(str(folder)), "float32", "cpu")
    assert old.logits(ITEMS) == pytest.approx(same.logits(ITEMS), abs=1e-6)


@pytest.mark.slow
def test_the_model_card_s_figures() -> None:
    """The published checkpoint on the examples of its model card, where a copy is at hand."""
    folder = os.environ.get("BFPO_PAIRRM")
    if not folder:
        pytest.skip("no copy of llm-blender/PairRM-hf: set BFPO_PAIRRM to its folder")
    ranker = PairRM(find_model(folder), "float32", "cpu")
    items = [
        Comparison("hello!", "hi!", "f**k off!"),
        Comparison("I love you!", "I hate you!", "I love you, too!"),
    ]
    assert ranker.logits(items) == pytest.approx([1.9003, -1.2547], abs=0.01)
