"""Mixing two checkpoints: against torch's own arithmetic, in blocks, and what cannot be mixed."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from bfpo_bench.cli.app import app
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.models import merge
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.models.fingerprint import weight_fingerprint

Weights = dict[str, torch.Tensor]


@pytest.fixture
def models(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two models of bfloat16 weights, the second in two files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    one, other = (Path(shutil.copytree(tiny_llama, tmp_path / name)) for name in ("one", "other"))
    weights = {k: v.bfloat16() for k, v in load_file(one / "model.safetensors").items()}
    save_file(weights, one / "model.safetensors", metadata={"format": "pt"})
    generator = torch.Generator().manual_seed(1)
    moved = {
        k: v + 0.1 * torch.randn(v.shape, generator=generator).bfloat16()
        for k, v in weights.items()
    }
    (other / "model.safetensors").unlink()
    names = sorted(moved)
    files = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in files.items():
        save_file({name: moved[name] for name in some}, other / file, metadata={"format": "pt"})
    index = {
        "metadata": {},
        "weight_map": {name: file for file, some in files.items() for name in some},
    }
    (other / "model.safetensors.index.json").write_text(json.dumps(index))
    return one, other


def weights_of(folder: Path) -> Weights:
    return {k: v for file in folder.glob("*.safetensors") for k, v in load_file(file).items()}


def merged(one: Path, other: Path, q: float, output: Path) -> dict[str, Any]:
    return merge.merge_models(
        find_model(str(one)), find_model(str(other)), q, output, Progress(show=False)
    )


@pytest.mark.parametrize("way", ["there", "back"])
def test_the_mixture_is_torch_s(models: tuple[Path, Path], tmp_path: Path, way: str) -> None:
    from transformers import AutoModelForCausalLM

    one, other = models if way == "there" else models[::-1]
    record = merged(one, other, 0.3, tmp_path / "out")
    here, there, found = weights_of(one), weights_of(other), weights_of(tmp_path / "out")
    wanted = {k: (0.7 * v.double() + 0.3 * there[k].double()).bfloat16() for k, v in here.items()}
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    files = {path.name for path in one.iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files | {"merge.json"}
    assert record["q"] == 0.3
    assert [record[which]["weights"] for which in ("first", "second")] == [
        weight_fingerprint(find_model(str(model)).weights) for model in (one, other)
    ]
    assert record["weights"] == weight_fingerprint(find_model(str(tmp_path / "out")).weights)


def test_the_ends_of_a_front_are_the_two_models(models: tuple[Path, Path], tmp_path: Path) -> None:
    one, other = models
    arguments = ["merge", str(one), str(other), "--q", "0,0.5,1", "--output", str(tmp_path / "f")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    for end, model in (("q-0", one), ("q-1", other)):
        found = weights_of(tmp_path / "f" / end)
        assert all(torch.equal(found[k], v) for k, v in weights_of(model).items())
    # The same again keeps what is there; a missing one is made anew.
    before = (tmp_path / "f" / "q-1" / "model.safetensors").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "f" / "q-0.5")
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (tmp_path / "f" / "q-1" / "model.safetensors").stat().st_mtime_ns == before
    assert (tmp_path / "f" / "q-0.5" / "merge.json").is_file()
    # Shares that are alike in their first six digits are two models all the same, and -0 is 0.
    arguments[4] = "-0,0,0.12345671,0.12345672"
    assert CliRunner().invoke(app, arguments).exit_code == 0
    found = {json.loads(one.read_text())["q"] for one in tmp_path.glob("f/*/merge.json")}
    assert found == {0.0, 0.12345671, 0.12345672, 0.5, 1.0}


def test_no_tensor_is_in_memory_whole(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = models[0]
    other = Path(shutil.copytree(one, tmp_path / "large"))
    for folder in (one, other):
        large = {"large": torch.randn(2048, 1024)}  # 8 MB
        save_file({**weights_of(folder), **large}, folder / "model.safetensors")
    monkeypatch.setattr(merge, "BLOCK", 1 << 16)
    source = find_model(str(one)).weights[0]
    second = merge._tensors(find_model(str(other)))
    read: list[int] = []
    mixed = merge._mixed
    monkeypatch.setattr(
        merge, "_mixed", lambda n, a, *more: read.append(len(a)) or mixed(n, a, *more)
    )
    tracemalloc.start()
    try:
        merge._write_file(source, tmp_path / "out", second, 0.5, Progress(show=False))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == [1 << 16] * 128
    assert most < 1 << 20


def config(key: str, value: Any, **more: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**content, key: value, **more}))

    return change


def tensors(change: Callable[[Weights], Weights]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        weights = weights_of(folder)
        save_file(change(weights), folder / "model.safetensors")

    return write


def tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + "\n")


def template(folder: Path) -> None:
    content = json.loads((folder / "tokenizer_config.json").read_text())
    text = json.dumps({**content, "chat_template": "{{ messages[0]['content'] }}"})
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    (folder / "tokenizer_config.json").write_text(text)


NORM = "model.norm.weight"


@pytest.mark.parametrize(
    ("change", "q", "said"),
    [
        (
            config("rope_parameters", {"rope_theta": 7.5, "rope_type": "default"}),
            0.5,
            r"rope_theta of their config.json differs: .* and 7.5",
        ),
        (
            config("attention_bias", True, vocab_size=9, num_hidden_layers=7, zeta=1),
            0.5,
            "for num_hidden_layers of their config.json differs: [0-9]+ and 7;",
        ),
        (config("model_type", "qwen2"), 0.5, 'model_type .* differs: "llama" and "qwen2"'),
        (tensors(lambda w: {k: v for k, v in w.items() if k != NORM}), 0.5, f"no tensor {NORM}"),
        (tensors(lambda w: {**w, NORM: w[NORM].float()}), 0.5, f"{NORM} is BF16 in one and F32"),
        (tensors(lambda w: {**w, NORM: w[NORM][:5].clone()}), 0.5, rf"{NORM} has the shape \["),
        (
            tensors(lambda w: {**w, NORM: w[NORM] * float("nan")}),
            0.5,
            f"{NORM} holds weights that are no numbers in the second model",
        ),
        (tokenizer, 0.5, r"tokenizers differ \(in tokenizer.json\)"),
        (template, 0.5, "their chat templates differ"),
        (lambda folder: None, 1.5, "share, from 0 to 1, not 1.5"),
        (lambda folder: None, float("nan"), "share, from 0 to 1, not nan"),
    ],
)
def test_what_cannot_be_merged(
    models: tuple[Path, Path],
    tmp_path: Path,
    change: Callable[[Path], None],
    q: float,
    said: str,
) -> None:
    one = models[0]
    other = Path(shutil.copytree(one, tmp_path / "changed"))
    change(other)
    with pytest.raises(BadInput, match=said):
        merged(one, other, q, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_was_only_saved_otherwise_is_merged(models: tuple[Path, Path], tmp_path: Path) -> None:
    """By another version, tool or user; a default may be spelt out, and is compared as it acts."""
    one = models[0]
    other = Path(shutil.copytree(one, tmp_path / "other names"))
    content = json.loads((one / "config.json").read_text())
    rope = content.pop("rope_parameters", {}) or {}
    bare = {k: v for k, v in content.items() if k not in ("attention_bias", "head_dim", "dtype")}
    changed = {
        "_name_or_path": "elsewhere", "transformers_version": "4.36.2", "torch_dtype": "float16",
        "pad_token_id": 1, "unsloth_version": "2024.9", "_attn_implementation_autoset": True,
        "rope_theta": rope.get("rope_theta", content.get("rope_theta", 10000.0)),
    }  # fmt: skip
    (other / "config.json").write_text(json.dumps({**bare, **changed}))
    merged(one, other, 0.5, tmp_path / "out")
    # Another width of heads is no matter of spelling.
    (other / "config.json").write_text(json.dumps({**bare, **changed, "head_dim": 2}))
    with pytest.raises(BadInput, match="for head_dim of their config\\.json differs"):
        merged(one, other, 0.5, tmp_path / "wrong")


def test_quantised_weights_are_refused_and_nothing_is_left(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    one = models[0]
    whole = {**weights_of(one), "packed": torch.arange(9, dtype=torch.int32)}
    save_file(whole, one / "model.safetensors")
    same = Path(shutil.copytree(one, tmp_path / "same"))
    merged(one, same, 0.5, tmp_path / "out")
    assert torch.equal(weights_of(tmp_path / "out")["packed"], whole["packed"])
    save_file({**whole, "packed": whole["packed"] + 1}, same / "model.safetensors")
    with pytest.raises(BadInput, match="packed is I32 and differs"):
        merged(one, same, 0.5, tmp_path / "half")
    # Of merge, which has no --force.
    with pytest.raises(BadInput, match="and not this mixture of these models; name"):
        merged(one, same, 0.5, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == [
        *("one", "other", "out", "same"),
    ]
    result = CliRunner().invoke(app, ["merge", "a", "b", "--q", "half", "--output", "c"])
    assert "--q takes numbers from 0 to 1" in str(result.output) + str(result.exception)
