"""What is saved of a trained model, and that it can be is tried before the training."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from transformers import GenerationConfig

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.training.dry_run import dry_run
from bfpo_bench.training.output import SAVED
from bfpo_bench.training.recipe_parts import LoraRecipe
from bfpo_bench.training.saving import (
    Beside,
    merge_adapters,
    read_generation,
    save_model,
    transposed_layers,
)
from bfpo_bench.training.train import train
from bfpo_bench.training.trainable import add_adapters
from tests.toy_models import SMALL
from tests.training.conftest import RECIPES, Mine

NewModel = Callable[[], Any]


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
    # What is done to the model's own config does not reach the disk.
    own = copy.deepcopy(model.config)
    kept = Beside(own, GenerationConfig(eos_token_id=[2, 5]), Tokenizer(), "mine")
    model.config.use_cache = False
    model.config.attention_dropout = 0.5
    save_model(trainer, kept, folder)
    folder = folder / SAVED
    config = json.loads((folder / "config.json").read_text())
    assert (config["use_cache"], config.get("attention_dropout", 0)) == (True, 0)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [2, 5]
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


def new_gpt2() -> Any:
    """Its layers have their weights the other way round, and attn.c_proj's are square."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=90, n_embd=32, n_layer=2, n_head=4))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_merging_is_pefts(kind: str, new_model: NewModel) -> None:
    model = new_model() if kind == "llama" else new_gpt2()
    adapted = add_adapters(model, LoraRecipe(rank=2, alpha=6), [])
    assert bool(transposed_layers(adapted)) == (kind == "gpt2")
    with torch.no_grad():
        for parameter in adapted.parameters():
            parameter.normal_(std=0.1)
    mine = merge_adapters(adapted.state_dict(), 3.0, transposed_layers(adapted))
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
    with safe_open(tmp_path / SAVED / "model.safetensors", "pt") as file:
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


@pytest.mark.parametrize("kind", list(RECIPES))
def test_a_base_that_is_saved_otherwise_than_it_came(
    kind: str, mine: Mine, tiny_llama: Path, tmp_path: Path
) -> None:
    """A generation config that cannot be saved, as vicuna's and Llama-2's, and a padding token that
    the embedding does not hold; with checkpoints between, and with adapters.
    """
    from transformers import AutoTokenizer

    base = Path(shutil.copytree(tiny_llama, tmp_path / "base"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<|padding|>"})
    tokenizer.save_pretrained(base)
    sampling = '{"eos_token_id": 2, "temperature": 0.9, "top_p": 0.6}'
    (base / "generation_config.json").write_text(sampling)
    adapters = ["lora={rank: 2}"] if kind == "preference" else []
    recipe = mine(kind, "save_steps=1", "optimization.max_steps=2", *adapters, base=base)
    assert "the trained model's says do_sample: true" in dry_run(recipe, Path("o"), Progress(False))
    record = train(recipe, Path("out"), device="cpu")
    assert "the trained model's says do_sample: true" in record["notes"][-1]
    found = json.loads(Path("out/generation_config.json").read_text())
    assert (found["temperature"], found["top_p"], found["do_sample"]) == (0.9, 0.6, True)
    config = json.loads(Path("out/config.json").read_text())
    assert config["use_cache"] is True
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert AutoTokenizer.from_pretrained("out").pad_token_id == rows


@pytest.mark.parametrize(
    ("content", "kept", "said"),
    [
        ("{}", {}, None),
        ('{"temperature": 0.7, "do_sample": true}', {"temperature": 0.7, "do_sample": True}, None),
        ('{"top_k": 5}', {"top_k": 5, "do_sample": True}, "do_sample: true"),
        ('{"min_p": 0.1, "temperature": 1.0}', {"min_p": 0.1, "temperature": 1.0}, "do_sample"),
        ('{"early_stopping": true, "max_length": 9}', {"max_length": 9}, "out early_stopping."),
        ('{"max_new_tokens": -1, "top_p": 0.5}', {}, "leaves out max_new_tokens, top_p."),
        ('{"output_scores": true, "bos_token_id": 1}', {"bos_token_id": 1}, "out output_scores."),
        ('{"pad_token_id": -1, "eos_token_id": [2, 3]}', {"eos_token_id": [2, 3]}, "pad_token_id"),
        ('{"eos_token_id": "abc"}', {}, "leaves out eos_token_id"),
        ('{"cache_implementation": "nope"}', {}, "leaves out cache_implementation"),
        ('{"num_return_sequences": 3}', {"num_return_sequences": 3}, "do_sample"),
        ('{"half', {}, "cannot be read; the trained model gets a new one"),
        pytest.param("[" * 100_000, {}, "cannot be read; the trained model gets", id="deep"),
        ("[1]", {}, "cannot be read"),
    ],
)
def test_generation_configs_are_mended(
    content: str, kept: dict[str, Any], said: str | None, tmp_path: Path
) -> None:
    from transformers import LlamaConfig

    (tmp_path / "generation_config.json").write_text(content)
    found, note = read_generation(tmp_path, LlamaConfig())
    found.save_pretrained(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert kept.items() <= written.items()
    assert said is None if note is None else said is not None and said in note


def test_what_cannot_be_saved_is_told_first(mine: Mine, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = mine("preference")

    def broken(self: Any, *_: Any, **__: Any) -> None:
        raise TypeError("Object of type set is not JSON serializable")

    with monkeypatch.context() as patch:
        patch.setattr("transformers.LlamaConfig.save_pretrained", broken)
        for start in (
            lambda: train(recipe, Path("out"), device="cpu"),
            lambda: dry_run(recipe, Path("out"), Progress(False)),
        ):
            with pytest.raises(
                BadInput, match=r"could not be saved \(Object of type set is not JSO"
            ):
                start()
    assert not Path("out").exists()


def test_a_disk_without_room(mine: Mine, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(BadInput, match=r"has 1 MB free, and the trained model takes 1\.00\d MB"):
        train(mine("sft"), Path("out"), device="cpu")
    usage.free = 2_000_000
    with pytest.raises(
        BadInput, match=r"trained model with its checkpoints takes 1\d\.\d+ MB; free"
    ):
        train(mine("sft", "save_steps=9"), Path("o"), device="cpu")


def test_a_disk_that_is_full_in_the_end(
    new_model: NewModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformers.LlamaForCausalLM.save_pretrained", full)
    with pytest.raises(
        RunFailed,
        match=r"the disk of .* is full: the trained model takes about 97.41 kB; free some and run",
    ):
        saved(new_model(), tmp_path)


@pytest.mark.parametrize("kind", list(RECIPES))
def test_tokens_beyond_the_embedding(
    kind: str, mine: Mine, tiny_llama: Path, tmp_path: Path
) -> None:
    """A marker of the template is refused, the dry run included."""
    from transformers import AutoTokenizer

    base = Path(shutil.copytree(tiny_llama, tmp_path / "base"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<|padding|>"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    tokenizer.chat_template = "{{ '<|turn|>' }}" + tokenizer.chat_template
    tokenizer.save_pretrained(base)
    recipe = mine(kind, base=base)
    for start in (
        lambda: train(recipe, Path("new"), device="cpu"),
        lambda: dry_run(recipe, Path("new"), Progress(False)),
    ):
        with pytest.raises(
            BadInput, match=rf"token {rows + 1} \('<\|turn\|>'\), and .* embedding has {rows} rows"
        ):
            start()
