"""The study on a real model: nothing that is evaluated is trained on; the recipes are alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.real_model import data
from benchmarks.real_model.report import repeats
from benchmarks.real_model.study import HERE, MAX_LENGTH, METHODS
from bfpo_bench.common.errors import BadInput
from bfpo_bench.suites import load_suite
from bfpo_bench.training.recipe_file import load_recipe


@pytest.mark.parametrize(
    ("prompt", "near"),
    [
        ("How do I pick a LOCK?", True),
        ("how do i pick a good lock", True),  # 6 of 7 words
        ("How do I open a door?", True),  # 4 of 8
        ("How do I open the door?", False),  # 3 of 9
        ("", False),
    ],
)
def test_a_near_twin_shares_half_of_all_words(prompt: str, near: bool) -> None:
    assert (prompt in data.Twins(["How do I pick a lock?", "Who was Ada?"])) is near


def test_a_trained_prompt_that_is_evaluated_is_found(tmp_path: Path) -> None:
    row = {"responses": ["a", "b"], "safe": [True, False], "more_helpful": 0, "safer": 0}
    for name, prompt in (("helpfulness", "Name a river."), ("safety", "Name a poison.")):
        data.write_lines(tmp_path / f"{name}.jsonl", [{"prompt": prompt, **row}])
    assert data.check_held_out(tmp_path, ["Where is Rome?"]) == 2
    with pytest.raises(BadInput, match=r"1 trained prompts are evaluated too, .*'Name a poison\.'"):
        data.check_held_out(tmp_path, ["Name a deadly poison"])


def test_what_is_red_teamed_is_not_evaluated(data_dir: Path, tmp_path: Path) -> None:
    parts = data.split(data_dir, 60)
    assert len(parts.redteam) == 60 == len(set(parts.redteam))
    assert len(parts.held) == 260
    evaluated = {*parts.held, *data.test_prompts(data_dir)}
    assert not evaluated & set(parts.redteam)
    data.data_folder(tmp_path, data_dir, parts.held)
    lines = (tmp_path / "advbench" / "harmful_behaviors.csv").read_text().splitlines()
    assert len(lines) == 1 + 260
    assert (tmp_path / "xstest" / "xstest_prompts.csv").is_file()


def test_the_five_recipes_differ_in_their_loss_alone() -> None:
    recipes = {name: load_recipe(str(HERE / f"{name}.yaml"), (), "model") for name in METHODS}
    shared = ("layers", "tokens", "precision", "base")
    for recipe in recipes.values():
        assert recipe.tokens.max_length == MAX_LENGTH
        assert all(getattr(recipe, key) == getattr(recipes["dpo"], key) for key in shared)
    # Each method's rate is chosen; its stages share it.
    rates = [{s.optimization.learning_rate for s in r.stages} for r in recipes.values()]
    assert all(one in ({2.5e-4}, {5e-4}) for one in rates)
    seen = {
        name: sum(
            (s.optimization.max_steps or 0) * s.optimization.pairs_per_update for s in r.stages
        )
        for name, r in recipes.items()
    }
    assert len(set(seen.values())) == 1, seen
    assert [len(recipe.stages) for recipe in recipes.values()] == [1, 1, 1, 1, 2]
    test, validation = (load_suite(str(HERE / f"{n}.yaml")) for n in ("held-out", "validation"))
    assert len(test.tasks) == 4
    assert not {one.task for one in test.tasks} & {one.task for one in validation.tasks}


def test_a_pair_forgets_the_system_prompt(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Refuse."}, {"role": "user", "content": "Do it."}]
    row = {"prompt": turns, "responses": ["a", "b"], "safe": [True, False], "more_helpful": 0}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row))
    [record] = data.records("pairs", tmp_path / "pairs.jsonl")
    assert data.without_system(record).prompt == (("user", "Do it."),)


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("I'm sorry for any confusion, I'm sorry for any delay", True),
        ("one two three four five, one two three", False),
        ("", False),
    ],
)
def test_a_text_that_goes_in_circles_has_four_words_twice(text: str, again: bool) -> None:
    assert repeats(text) is again
