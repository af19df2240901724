"""Rows that the chat template cannot write: named with their place, or left out and counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.reward_model import RewardModel, find_reward_model
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.data.preferences import Messages, Pair
from bfpo_bench.training.dry_run import dry_run
from bfpo_bench.training.on_policy.ratings import choose_ratings
from bfpo_bench.training.on_policy.rewards import choose_reward
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_file import load_recipe
from bfpo_bench.training.recipe_parts import RewardRecipe
from bfpo_bench.training.train import train
from tests.engines.test_reward_model import classifier
from tests.training import toy_tokenizers as toy

ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{{ '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else ' ' + m.content + eos_token }}"
    "{% endfor %}"
)
"""After Mistral's: no system message, no two turns of one side."""

BAD = "line 3: the chat template cannot write a conversation of system, user"


@pytest.fixture(scope="module")
def base(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "alternating"
    shutil.copytree(tiny_llama, folder)
    (folder / "chat_template.jinja").write_text(ALTERNATING, encoding="utf-8")
    return folder


def said(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def recipe_of(kind: str, folder: Path, base: Path, *changes: str) -> Recipe:
    """A recipe on eight rows, the third of which begins with a system message."""
    prompts = [said(("user", f"how do i clean lamp {i} ?")) for i in range(8)]
    prompts[2] = said(("system", "be brief"), ("user", "how ?"))
    rows: dict[str, list[dict[str, Any]]] = {
        "preference": [
            {
                "prompt": prompt,
                "chosen": said(("assistant", "gently")),
                "rejected": said(("assistant", "no")),
            }
            for prompt in prompts
        ],
        "sft": [{"messages": prompt + said(("assistant", "gently"))} for prompt in prompts],
        "reward": [{"prompt": prompt} for prompt in prompts],
    }
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows[kind])), encoding="utf-8")
    more = {
        "preference": {"loss": "dpo", "loss_parameters": {"beta": 0.1}},
        "sft": {},
        "reward": {
            "combination": "linear",
            "combination_parameters": {"weight": 0.5},
            "rewards": {
                name: {"function": "tests.training.pairwise.test_margins:length"}
                for name in ("helpful", "safe")
            },
            "rollout": {"num_generations": 2, "max_completion_length": 4},
        },
    }[kind]
    pairs = {"preference": "helpful", "sft": "chat", "reward": "prompts"}[kind]
    content = {
        "method": "mine",
        "kind": kind,
        "precision": "fp32",
        "layers": ["mlp.down_proj"],
        "data": [{"name": "mine", "pairs": pairs, "files": [str(folder / "rows.jsonl")]}],
        "optimization": {"pairs_per_update": 2, "per_device_train_batch_size": 2, "max_steps": 2},
        **more,
    }
    (folder / "mine.yaml").write_text(json.dumps(content), encoding="utf-8")
    return load_recipe(str(folder / "mine.yaml"), list(changes), str(base))


@pytest.mark.parametrize("kind", ["preference", "sft", "reward"])
def test_a_row_that_the_template_refuses(kind: str, tmp_path: Path, base: Path) -> None:
    with pytest.raises(BadInput) as error:
        dry_run(recipe_of(kind, tmp_path, base), tmp_path / "out", Progress(show=False))
    assert "1 of the 8 rows of set 'mine' cannot be used" in str(error.value)
    assert f"{tmp_path / 'rows.jsonl'}, {BAD}" in str(error.value)
    assert "skip_bad_rows: true" in str(error.value)
    skipping = recipe_of(kind, tmp_path, base, "data.0.skip_bad_rows=true")
    text = dry_run(skipping, tmp_path / "out", Progress(show=False))
    assert "mine: 7 " in text
    assert "1 rows left out" in text


def test_the_record_counts_and_names_it(tmp_path: Path, base: Path) -> None:
    recipe = recipe_of("preference", tmp_path, base, "data.0.skip_bad_rows=true")
    [data] = train(recipe, tmp_path / "out", device="cpu")["data"]
    assert (data["rows"], data["pairs"], data["left_out"]) == (8, 7, 1)
    assert BAD in data["bad_rows"][0]


def test_a_set_of_which_nothing_is_left(tmp_path: Path, base: Path) -> None:
    recipe = recipe_of("sft", tmp_path, base, "data.0.skip_bad_rows=true")
    row = {"messages": said(("system", "a"), ("user", "b"), ("assistant", "c"))}
    (tmp_path / "rows.jsonl").write_text("\n".join([json.dumps(row)] * 2), encoding="utf-8")
    with pytest.raises(BadInput, match="2 of the 2 rows of set 'mine' cannot be used"):
        dry_run(recipe, tmp_path / "out", Progress(show=False))


def test_a_reward_model_whose_template_refuses_prompts(tmp_path: Path, base: Path) -> None:
    """Told before anything is loaded, for margins and for rewards of new responses."""
    model = classifier(tmp_path / "rm", base, 1)
    system, plain = (said(*turns) for turns in ((("system", "a"), ("user", "b")), (("user", "b"),)))
    found = choose_reward(RewardRecipe(model=str(model)))
    found.try_on([_messages(plain)] * 3)
    refusal = r"rm cannot rate answers to prompts of system, user: its chat template refuses the"
    with pytest.raises(BadInput, match=refusal):
        found.try_on([_messages(plain), _messages(system)])
    with pytest.raises(BadInput, match=refusal):
        choose_ratings({"margin": RewardRecipe(model=str(model))}, [_messages(system)], "pairs")
    with pytest.raises(BadInput, match=refusal):
        RewardModel(find_reward_model(str(model)), torch.device("cpu")).rate(
            [_messages(system)], ["yes"]
        )


def _messages(turns: list[dict[str, str]]) -> Messages:
    return tuple((turn["role"], turn["content"]) for turn in turns)


@pytest.mark.parametrize(
    ("template", "text", "mark"),
    [
        (toy.ZEPHYR, "In HTML <s>this</s> is struck out.", "<s>"),  # the tokenizer's BOS
        (toy.ZEPHYR, "Yes.\n<|user|>\nAnd now?", "<|user|>"),
        (toy.MISTRAL, "[INST] Hi", "[INST]"),
        (toy.ENDLESS, "user: Hi", "user:"),
        (toy.ENDLESS, "Hi\nassistant:", "assistant:"),
        ("### User:\n{{ messages[0].content }}\n", "a\n### User:\nb", "### User:"),
    ],
)
def test_marks_of_this_template(template: str, text: str, mark: str) -> None:
    if "### User" in template:
        template += "### Bot:\n{{ messages[1].content + eos_token if messages | length > 1 }}"
    chat = ChatTemplate(toy.byte_level(), template)
    with pytest.raises(BadInput) as error:
        chat.render(Pair((("user", "Hi"),), text, "No.", None, None, "mine"))
    assert f"a text holds {mark!r}, which this chat template and its tokenizer" in str(error.value)
    with pytest.raises(BadInput, match="take for a mark of theirs"):
        chat.question((("user", text),))
    with pytest.raises(BadInput, match="take for a mark of theirs"):
        chat.conversation((("user", text), ("assistant", "Yes.")))


def test_words_that_are_no_marks_of_it() -> None:
    thought = "<think>\nThe user: what?\n</think>\nThe assistant: and the user: agree. [1] <b>x</b>"
    for template in (toy.ZEPHYR, toy.MISTRAL, toy.ENDLESS, toy.CHATML):
        chat = ChatTemplate(toy.byte_level(), template)
        assert thought.strip() in chat.conversation((("user", "Hi"), ("assistant", thought)))
