"""Prompts for on-policy training, from preference data, conversations and plain files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.data.chat import PromptSet, load_prompts
from bfpo_bench.training.recipe_parts import DataRecipe


@pytest.fixture
def tokenizer(tiny_llama: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_llama)


def write(folder: Path, rows: list[Any]) -> tuple[str, ...]:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return (str(path),)


def load(tokenizer: Any, files: tuple[str, ...], longest: int = 512, **more: Any) -> PromptSet:
    wanted = DataRecipe("mine", more.pop("pairs", "prompts"), files, **more)
    return load_prompts(wanted, 0, tokenizer, longest)


def test_prompts_of_real_preference_data(data_dir: Path, tokenizer: Any) -> None:
    file = data_dir / "preference" / "pku_saferlhf_32.json"
    rows = json.loads(file.read_text(encoding="utf-8"))
    found = load(tokenizer, (str(file),), unsafe_prompts=True)
    assert [prompt[0][1] for prompt in found.prompts] == list(
        dict.fromkeys(row["prompt"] for row in rows)
    )
    assert found.rows == len(rows)
    assert found.unsafe


def test_texts_messages_and_conversations(tmp_path: Path, tokenizer: Any) -> None:
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    said = tuple((m["role"], m["content"]) for m in talk)
    files = write(tmp_path, [{"prompt": "Hi"}, {"prompt": talk}, {"prompt": "Hi"}])
    assert load(tokenizer, files).prompts == [(("user", "Hi"),), said]
    answered = [*talk, {"role": "assistant", "content": "d"}]
    files = write(tmp_path, [{"messages": answered}])
    assert load(tokenizer, files, pairs="chat").prompts == [said]


def test_a_smaller_limit_is_a_part_of_a_larger_one(tmp_path: Path, tokenizer: Any) -> None:
    files = write(tmp_path, [{"prompt": f"{n}?"} for n in range(30)])
    some, more = (load(tokenizer, files, limit=limit).prompts for limit in (5, 12))
    assert len(some) == 5
    assert set(some) < set(more)


def test_long_prompts_are_left_out_and_counted(tmp_path: Path, tokenizer: Any) -> None:
    rows = [{"prompt": "Hi"}, {"prompt": "Hello"}, {"prompt": "word " * 300}]
    found = load(tokenizer, write(tmp_path, rows), longest=50)
    assert (len(found.prompts), found.too_long, found.rows) == (2, 1, 3)
    with pytest.raises(BadInput, match="2 of 3 prompts of set 'mine' are longer than max_prompt"):
        load(tokenizer, write(tmp_path, [rows[0], rows[2], {"prompt": "more " * 300}]), longest=50)


def test_rows_that_are_no_prompts(tmp_path: Path, tokenizer: Any) -> None:
    rows = [
        {"prompt": "Hi"},
        {"text": "Hi"},
        {"prompt": [{"role": "assistant", "content": "x"}]},
        {"prompt": "\ud800"},
    ]
    with pytest.raises(BadInput) as error:
        load(tokenizer, write(tmp_path, rows))
    for part in (
        "3 of the 4 rows",
        "no field holds what is asked",
        "there is no user's turn at the end",
    ):
        assert part in str(error.value)
    assert "holds half a surrogate pair at character 0" in str(error.value)
    found = load(tokenizer, write(tmp_path, rows), skip_bad_rows=True)
    assert (len(found.prompts), len(found.bad)) == (1, 3)
    with pytest.raises(BadInput, match="set 'mine' holds no prompt that can be used"):
        load(tokenizer, write(tmp_path, rows[1:]), skip_bad_rows=True)
    with pytest.raises(BadInput, match="unknown way to take prompts from set 'mine': 'bfpo'"):
        load(tokenizer, write(tmp_path, rows), pairs="bfpo")
