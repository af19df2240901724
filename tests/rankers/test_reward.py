"""Reward models as rankers, against transformers' own text classification."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.rankers import ChosenRanker, Comparison, RankerOptions, choose_ranker
from bfpo_bench.rankers.reward import Reward
from tests.rankers.tiny import change_config, make_deberta_reward, make_llama_reward

ITEMS = [
    Comparison("Where is my bike?", "In the shed.", "I can't help with that."),
    Comparison("Where is my bike?", "In the shed.", "In the shed."),
]


def chosen(folder: Path, **loading: Any) -> ChosenRanker:
    return choose_ranker(
        RankerOptions(ranker=f"reward:{folder}", device="cpu", dtype="float32", **loading)
    )


def rank(folder: Path, items: list[Comparison], **loading: Any) -> list[float | None]:
    with chosen(folder, **loading).opened(Progress(show=False)) as ranker:
        assert isinstance(ranker, Reward)
        return [ranking.preference for ranking in ranker.rank(items)]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    return make_llama_reward(tmp_path_factory.mktemp("reward") / "llama", tiny_llama)


def test_with_a_chat_template(llama: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(llama))
    model = AutoModelForSequenceClassification.from_pretrained(str(llama)).eval()

    def by_hand(prompt: str, response: str) -> float:
        said = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        text = tokenizer.apply_chat_template(said, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            # The head on the last token's state: no search for padding.
            return float(model.score(model.model(ids).last_hidden_state[0, -1])[0])

    expected = [by_hand(i.prompt, i.first) - by_hand(i.prompt, i.second) for i in ITEMS]
    assert rank(llama, ITEMS) == pytest.approx(expected, abs=1e-5)
    assert abs(expected[0]) > 1e-3
    assert expected[1] == 0


def test_without_a_chat_template(tmp_path: Path) -> None:
    folder = make_deberta_reward(tmp_path / "deberta")
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    model = AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
    item = ITEMS[0]
    with torch.no_grad():
        one, two = (
            float(model(**tokenizer(item.prompt, text, return_tensors="pt")).logits)
            for text in (item.first, item.second)
        )
    assert rank(folder, [item]) == pytest.approx([one - two], abs=1e-5)
    assert abs(one - two) > 1e-3


def test_a_long_conversation_loses_its_beginning(llama: Path) -> None:
    long = Comparison("bike " * 5000, "In the shed.", "I can't help with that.")
    longer = Comparison("shed " * 9 + long.prompt, long.first, long.second)
    assert rank(llama, [long]) == rank(llama, [longer])


def test_a_head_of_several_numbers(tmp_path: Path) -> None:
    folder = make_deberta_reward(tmp_path / "three", labels=3)
    with pytest.raises(BadInput, match="gives 3 numbers; say which one ranks with reward:"):
        chosen(folder)
    model = AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    item = ITEMS[0]
    with torch.no_grad():
        one, two = (
            model(**tokenizer(item.prompt, text, return_tensors="pt")).logits[0, 2].item()
            for text in (item.first, item.second)
        )
    assert rank(Path(f"{folder}#2"), [item]) == pytest.approx([one - two], abs=1e-5)


def test_what_is_no_reward_model_is_refused(tmp_path: Path, llama: Path, tiny_llama: Path) -> None:
    with pytest.raises(BadInput, match="tiny-llama has no reward head"):
        chosen(tiny_llama)
    strange = Path(shutil.copytree(llama, tmp_path / "strange"))
    change_config(strange, model_type="nonsense")
    with pytest.raises(BadInput, match="cannot be loaded as a sequence classifier"):
        rank(strange, ITEMS)
