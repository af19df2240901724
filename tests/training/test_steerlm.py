"""SteerLM: attributes in the prompt while learning, and in the saved template afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.data.chat import attribute_line, attributes_of, load_conversations
from bfpo_bench.training.data.preferences import PreferenceRecord
from bfpo_bench.training.recipe import DataRecipe
from bfpo_bench.training.recipe_file import load_recipe
from bfpo_bench.training.steerlm import steered_template
from bfpo_bench.training.train import train

RECIPE = """
method: steerlm
kind: sft
precision: fp32
layers: [mlp.down_proj]
attributes: {{helpfulness: 1, safety: 1}}
data: [{{name: pku, pairs: attributes, files: ["{file}"], limit: 8}}]
tokens: {{max_length: 512, max_prompt: 64}}
optimization: {{learning_rate: 1e-3, pairs_per_update: 8, per_device_train_batch_size: 8,
  max_steps: 2}}
"""


@pytest.fixture
def tokenizer(tiny_llama: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_llama)


def test_attributes_are_what_the_labels_say() -> None:
    record = PreferenceRecord((("user", "?"),), ("a", "b"), 1, (True, None), None, "s", "s:1")
    assert attributes_of(record, 0) == {"helpfulness": 0, "safety": 1}
    assert attributes_of(record, 1) == {"helpfulness": 1}
    assert attribute_line({"helpfulness": 0, "safety": 1}) == "helpfulness: 0, safety: 1"


def test_both_responses_are_learnt_from(data_dir: Path) -> None:
    file = data_dir / "preference" / "pku_saferlhf_32.json"
    rows = json.loads(file.read_text(encoding="utf-8"))
    found, *_ = load_conversations(DataRecipe("pku", "attributes", (str(file),)), seed=0)
    assert len(found) == 2 * len(rows)
    for n, row in enumerate(rows):
        for k in (0, 1):
            helpful, safe = int(row["better_response_id"] == k), int(row[f"is_response_{k}_safe"])
            assert found[2 * n + k] == (
                ("system", f"helpfulness: {helpful}, safety: {safe}"),
                ("user", row["prompt"]),
                ("assistant", row[f"response_{k}"]),
            )


def test_attributes_stand_before_a_system_message(tmp_path: Path) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"}]
    row = {"prompt": prompt, "responses": ["a", "b"], "safe": [True, False], "more_helpful": None}
    (tmp_path / "p.jsonl").write_text(json.dumps(row), encoding="utf-8")
    found, *_ = load_conversations(DataRecipe("p", "attributes", (str(tmp_path / "p.jsonl"),)), 0)
    assert [c[0] for c in found] == [
        ("system", "safety: 1\nBe brief."),
        ("system", "safety: 0\nBe brief."),
    ]


def test_a_set_without_labels(tmp_path: Path) -> None:
    row = {"prompt": "?", "responses": ["a", "b"], "safe": [None, None], "more_helpful": None}
    (tmp_path / "p.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(BadInput, match="there are no attributes to learn"):
        load_conversations(DataRecipe("p", "attributes", (str(tmp_path / "p.jsonl"),)), 0)


def test_the_steered_template_asks_as_training_did(tokenizer: Any) -> None:
    wanted = {"helpfulness": 1, "safety": 1}
    steered = steered_template(tokenizer.chat_template, wanted, tokenizer)
    line = "helpfulness: 1, safety: 1"
    question = {"role": "user", "content": "How?"}
    for own, expected in ((None, line), ("Be brief.", f"{line}\nBe brief.")):
        asked = [question] if own is None else [{"role": "system", "content": own}, question]
        learnt = [{"role": "system", "content": expected}, question]
        assert tokenizer.apply_chat_template(
            asked, chat_template=steered, tokenize=False, add_generation_prompt=True
        ) == tokenizer.apply_chat_template(learnt, tokenize=False, add_generation_prompt=True)


def test_what_is_wrong_is_said(tokenizer: Any) -> None:
    with pytest.raises(BadInput, match="unknown attribute 'saftey'; did you mean 'safety'"):
        steered_template(tokenizer.chat_template, {"saftey": 1}, tokenizer)
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('none') }}{% endif %}"
    with pytest.raises(BadInput, match="the chat template writes no system message"):
        steered_template(f"{refusing}{{{{ messages[0].content }}}}", {"safety": 1}, tokenizer)
    deaf = "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(BadInput, match="the chat template writes no system message"):
        steered_template(deaf, {"safety": 1}, tokenizer)


@pytest.mark.slow
def test_a_steered_model_is_asked_like_any_other(
    data_dir: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    file = data_dir / "preference" / "pku_saferlhf_32.json"
    (tmp_path / "r.yaml").write_text(RECIPE.format(file=file), encoding="utf-8")
    record = train(
        load_recipe(str(tmp_path / "r.yaml"), base=str(tiny_llama)), tmp_path / "out", device="cpu"
    )
    assert record["data"][0]["pairs"] == 16
    saved = AutoTokenizer.from_pretrained(tmp_path / "out")
    text = saved.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert "helpfulness: 1, safety: 1" in text
