"""What the tour leaves alone when it is started again, and what it refuses to mix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.models.fingerprint import weight_fingerprint
from bfpo_bench.toy_world.ground_truth import Split, parse_request
from bfpo_bench.toy_world.tour import check_folder, is_trained, write_dialogues
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_file import load_recipe


@pytest.fixture
def recipe(tiny_llama: Path) -> Recipe:
    return load_recipe("toy/bfpo", base=str(tiny_llama))


def finish(folder: Path, recipe: Recipe) -> None:
    weights = weight_fingerprint(find_model(str(recipe.base)).weights)
    record = {"recipe": recipe.as_dict(), "base": {"weights": weights}}
    folder.mkdir()
    (folder / "training.json").write_text(json.dumps(record), encoding="utf-8")


def test_a_finished_training_is_found(recipe: Recipe, tmp_path: Path) -> None:
    assert not is_trained(tmp_path / "bfpo", recipe)
    finish(tmp_path / "bfpo", recipe)
    assert is_trained(tmp_path / "bfpo", recipe)


def test_an_unfinished_one_is_not(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("{}", encoding="utf-8")
    assert not is_trained(tmp_path, recipe)


@pytest.mark.parametrize("change", ["seed=7", "loss_parameters.alpha=0"])
def test_another_training_is_refused(recipe: Recipe, tmp_path: Path, change: str) -> None:
    finish(tmp_path / "bfpo", recipe)
    other = load_recipe("toy/bfpo", [change], base=recipe.base)
    with pytest.raises(BadInput, match="--output"):
        is_trained(tmp_path / "bfpo", other)


def test_another_base_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "bfpo"
    finish(folder, recipe)
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    record["base"]["weights"] = "something else"
    (folder / "training.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(BadInput, match="another base"):
        is_trained(folder, recipe)


def test_a_folder_that_was_moved_is_still_found(recipe: Recipe, tmp_path: Path) -> None:
    changes = ["data.0.files=[/there/helpfulness.jsonl]", "data.1.files=[/there/safety.jsonl]"]
    finish(tmp_path / "bfpo", load_recipe("toy/bfpo", changes, base=recipe.base))
    assert is_trained(tmp_path / "bfpo", recipe)


def test_another_seed_is_refused_before_anything_is_made(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    finish(tmp_path / "models" / "bfpo", recipe)
    check_folder(tmp_path, recipe.seed)
    with pytest.raises(BadInput, match=r"holds a tour with --seed 42, not 1; go on with that one"):
        check_folder(tmp_path, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"tour cannot be written into .*file \(File exists\)"):
        check_folder(tmp_path / "file", 1)


def test_dialogues_hold_nothing_held_out(tmp_path: Path) -> None:
    write_dialogues(tmp_path, seed=1)
    lines = (tmp_path / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines:
        asked, said = json.loads(line)["messages"]
        assert (asked["role"], said["role"]) == ("user", "assistant")
        request = parse_request(asked["content"])
        assert request is not None
        assert request.split is Split.TRAIN
