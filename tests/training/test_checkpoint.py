"""The output folder: what it may hold before, and what goes into it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator, PartialState

from bfpo_bench.errors import BadInput, RunFailed
from bfpo_bench.training import run
from bfpo_bench.training.checkpoint import (
    claim_output,
    finish_output,
    finished_record,
    merge_adapters,
    save_model,
)
from bfpo_bench.training.layers import add_adapters
from bfpo_bench.training.recipe import LoraRecipe
from tests.toy_models import SMALL

NewModel = Callable[[], Any]

IDENTITY = {"recipe": {"layers": ("a",)}, "base weights": "w", "data": {"one": "d"}}


def saved_state(folder: Path, updates: int, whole: bool = True) -> None:
    checkpoint = folder / f"checkpoint-{updates}"
    checkpoint.mkdir()
    if whole:
        (checkpoint / "trainer_state.json").write_text("{}")


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("hello")
    with pytest.raises(BadInput, match=r"a checkpoint is a folder, and .*out is a file"):
        claim_output(tmp_path / "out", IDENTITY)


def test_a_folder_with_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("hello")
    with pytest.raises(BadInput, match=r"is not empty; name a new folder with --output"):
        claim_output(tmp_path, IDENTITY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_unfinished_training_goes_on_from_its_newest_whole_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    assert claim_output(out, IDENTITY) is None
    assert claim_output(out, IDENTITY) is None
    saved_state(out, 8)
    saved_state(out, 16)
    saved_state(out, 24, whole=False)
    assert claim_output(out, IDENTITY) == out / "checkpoint-16"


def test_an_unfinished_training_of_something_else(tmp_path: Path) -> None:
    claim_output(tmp_path / "out", IDENTITY)
    other = {**IDENTITY, "recipe": {"layers": ("b",)}, "data": {"one": "e"}}
    with pytest.raises(
        BadInput, match=r"holds an unfinished training with another recipe and data; go on with"
    ):
        claim_output(tmp_path / "out", other)


def test_a_finished_training(tmp_path: Path) -> None:
    out = tmp_path / "out"
    claim_output(out, IDENTITY)
    saved_state(out, 8)
    finish_output(out, {"method": "dpo"}, "# A card")
    assert json.loads((out / "training.json").read_text()) == {"method": "dpo"}
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "training.json"]
    with pytest.raises(BadInput, match=r"out holds a finished training already; name another"):
        claim_output(out, IDENTITY)


RECIPE = {"loss": "dpo", "base": "here", "data": ({"name": "one", "files": ("a.jsonl",)},)}
MADE = {**IDENTITY, "recipe": RECIPE, "rewards": {"margin": {"objective": 3}}}


def finished(folder: Path) -> dict[str, Any]:
    """What a training of MADE leaves."""
    record = {
        "recipe": RECIPE,
        "base": {"weights": "w"},
        "data": [{"name": "one", "digest": "d"}],
        "rewards": {"margin": {"objective": 3}},
    }
    claim_output(folder, MADE)
    finish_output(folder, record, "# A card")
    return json.loads(json.dumps(record))


def test_the_same_training_again_is_read(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert finished_record(out, MADE) is None
    record = finished(out)
    assert finished_record(out, MADE) == record
    # Digests tell weights and data; where they lie does not count.
    there = {"name": "one", "files": ("/there/a.jsonl",)}
    moved = {**MADE, "recipe": {**RECIPE, "base": "there", "data": (there,)}}
    assert finished_record(out, moved) == record


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"recipe": {**RECIPE, "loss": "ipo"}}, "recipe"),
        ({"base weights": "v", "data": {"one": "e"}}, "base weights and data"),
        ({"rewards": {}}, "rewards"),
    ],
)
def test_another_training_in_its_folder(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    finished(tmp_path / "out")
    with pytest.raises(BadInput, match=f"finished training already, with another {named}; name"):
        finished_record(tmp_path / "out", {**MADE, **change})


def test_a_folder_that_was_moved_goes_on(tmp_path: Path) -> None:
    claim_output(tmp_path / "out", MADE)
    saved_state(tmp_path / "out", 8)
    moved = {**MADE, "recipe": {**RECIPE, "base": "there"}}
    assert claim_output(tmp_path / "out", moved) == tmp_path / "out" / "checkpoint-8"


def test_a_damaged_record(tmp_path: Path) -> None:
    for name in ("recipe.json", "training.json"):
        (tmp_path / name).write_text('{"half": ')
    with pytest.raises(BadInput, match=r"training.json is damaged; delete its folder"):
        finished_record(tmp_path, MADE)
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(BadInput, match=r"training.json does not say what it is of"):
        finished_record(tmp_path, MADE)
    (tmp_path / "training.json").unlink()
    with pytest.raises(BadInput, match=r"recipe.json is damaged; delete its folder"):
        claim_output(tmp_path, MADE)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"out cannot be written \(a file is in the way\); name"):
        claim_output(tmp_path / "file" / "out", MADE)
    with pytest.raises(BadInput, match=r"/proc/out cannot be written \(No such file"):
        claim_output(Path("/proc/out"), MADE)


def test_a_checkpoint_that_one_node_does_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "claim_output", lambda *_: tmp_path / "checkpoint-8")
    with pytest.raises(RunFailed, match=r"checkpoint-8, from which the training goes on; put --"):
        run.claim_together(tmp_path, IDENTITY, PartialState(cpu=True))


class Tokenizer:
    """Stands for one; tokenizers are saved in the test of whole runs."""

    chat_template: str | None = None

    def save_pretrained(self, folder: Path) -> None:
        (folder / "template").write_text(self.chat_template or "own")


def saved(model: Any, folder: Path, bf16: bool = False) -> Any:
    """The model that transformers loads from what is saved of one."""
    from transformers import AutoModelForCausalLM

    trainer = SimpleNamespace(
        accelerator=Accelerator(cpu=True),
        model=model,
        model_wrapped=model,
        args=SimpleNamespace(bf16=bf16),
    )
    save_model(trainer, Tokenizer(), "mine", folder)
    assert (folder / "template").read_text() == "mine"
    loaded, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    return loaded


def test_adapters_are_merged(new_model: NewModel, tmp_path: Path) -> None:
    adapted = add_adapters(new_model(), LoraRecipe(rank=3, alpha=9), ["mlp", "v_proj"])
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    adapted.eval()
    with torch.no_grad():
        expected = adapted(ids).logits
        assert not torch.allclose(expected, new_model()(ids).logits, atol=1e-2)
        loaded = saved(adapted, tmp_path)
        assert torch.allclose(loaded(ids).logits, expected, atol=1e-4)
    assert not list(tmp_path.glob("adapter*"))


def test_merging_is_pefts(new_model: NewModel) -> None:
    adapted = add_adapters(new_model(), LoraRecipe(rank=2, alpha=6), [])
    with torch.no_grad():
        for parameter in adapted.parameters():
            parameter.normal_(std=0.1)
    mine = merge_adapters(adapted.state_dict(), 3.0)
    theirs = adapted.merge_and_unload().state_dict()
    assert mine.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.allclose(mine[name], tensor, atol=1e-6)


def test_tied_weights_are_saved_once_and_in_the_recipes_precision(tmp_path: Path) -> None:
    from safetensors import safe_open
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=90,
        **{**SMALL, "num_hidden_layers": 1},
        num_attention_heads=2,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    loaded = saved(model, tmp_path, bf16=True)
    assert loaded.dtype == torch.bfloat16
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight.bfloat16())
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118


def test_weights_that_are_not_numbers_are_not_saved(new_model: NewModel, tmp_path: Path) -> None:
    model = new_model()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3, 4] = float("nan")
    with pytest.raises(
        RunFailed,
        match=r"training has ended in weights .* \(model.layers.1.mlp.down_proj.weight\), so",
    ):
        saved(model, tmp_path)
    assert not list(tmp_path.iterdir())
