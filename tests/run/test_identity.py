"""What the answers of a checkpoint folder depend on, and what they do not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from safetensors.torch import load_file, save_file

from bfpo_bench.common.errors import BadInput
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.models.fingerprint import checkpoint_digest, checkpoint_identity
from bfpo_bench.run.identity import differences, is_earlier, joined, shared_parts
from tests.toy_models import weights_of

EVERYTHING: dict[str, Any] = {"generation": True, "code": True}


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


def identity(folder: Path, **what: Any) -> dict[str, str]:
    return checkpoint_identity(find_model(str(folder)), **{**EVERYTHING, **what})


def edit(path: Path, **settings: Any) -> None:
    """Sets entries of a JSON file; None takes one out."""
    content = json.loads(path.read_text()) if path.exists() else {}
    content = {k: v for k, v in {**content, **settings}.items() if v is not None}
    path.write_text(json.dumps(content))


def rope(folder: Path) -> None:
    edit(folder / "config.json", rope_parameters={"rope_theta": 100.0, "rope_type": "default"})


def quantised(folder: Path) -> None:
    edit(folder / "config.json", quantization_config={"dtype": "int4"})


def weights(folder: Path) -> None:
    with weights_of(folder) as tensors:
        tensors["lm_head.weight"][0, 0] += 1


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (weights, "weights"),
        (rope, "settings"),
        (quantised, "settings"),
        (lambda f: (f / "preprocessor_config.json").write_text('{"size": 1}'), "settings"),
        (lambda f: edit(f / "generation_config.json", temperature=0.5), "generation"),
        (lambda f: edit(f / "tokenizer_config.json", add_bos_token=False), "tokens"),
        (lambda f: edit(f / "tokenizer.json", added_tokens=[]), "tokens"),
        (lambda f: (f / "qwen.tiktoken").write_text("IQ== 0"), "tokens"),
        (lambda f: (f / "sentencepiece.bpe.model").write_bytes(b"m"), "tokens"),
        (lambda f: (f / "chat_template.jinja").write_text("other"), "templates"),
        (lambda f: (f / "modeling_own.py").write_text("x = 1"), "code"),
        (lambda f: write(f / "parts" / "layer.py", "x = 1"), "code"),
        (lambda f: write(f / "additional_chat_templates" / "rag.jinja", "docs"), "templates"),
    ],
)
def test_what_changes_an_answer_changes_its_part(
    folder: Path, change: Callable[[Path], Any], part: str
) -> None:
    before, digest = identity(folder), checkpoint_digest(find_model(str(folder)), **EVERYTHING)
    change(folder)
    after = identity(folder)
    assert [name for name in before if before[name] != after[name]] == [part]
    assert checkpoint_digest(find_model(str(folder)), **EVERYTHING) != digest


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_what_changes_no_answer_changes_nothing(folder: Path, tmp_path: Path) -> None:
    before = identity(folder)
    # Saved again by another version, elsewhere, in another order; as transformers 4 named it.
    config = json.loads((folder / "config.json").read_text())
    config |= {"transformers_version": "4.30.0", "_name_or_path": "/home/me", "use_cache": False}
    config["torch_dtype"] = config.pop("dtype")
    (folder / "config.json").write_text(json.dumps(dict(reversed(config.items())), indent=7))
    edit(folder / "tokenizer_config.json", name_or_path="me/mine", is_local=True)
    edit(folder / "generation_config.json", transformers_version="4.30.0")
    # The template where older versions kept it.
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    edit(folder / "tokenizer_config.json", chat_template=template)
    # What is no part of a model.
    for name in ("README.md", "training.json", "made.json", "trainer_state.json"):
        (folder / name).write_text("{}")
    # In two files, under other names.
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for number, names in enumerate((list(tensors)[:3], list(tensors)[3:])):
        save_file({name: tensors[name] for name in names}, folder / f"part-{number}.safetensors")
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    moved = tmp_path / "another name"
    folder.rename(moved)
    assert identity(moved) == before
    (moved / "tokenizer_config.json").rename(moved / "kept")
    edit(moved / "chat_template.json", chat_template=template)
    (moved / "kept").rename(moved / "tokenizer_config.json")
    edit(moved / "tokenizer_config.json", chat_template=None)
    assert identity(moved) == before


def test_only_what_can_be_used_counts(folder: Path, tmp_path: Path) -> None:
    files = find_model(str(folder))
    before = checkpoint_identity(files)
    assert list(before) == ["weights", "settings", "tokens", "templates"]
    (folder / "modeling_own.py").write_text("never run")
    edit(folder / "generation_config.json", temperature=0.5)
    assert checkpoint_identity(files) == before
    (folder / "chat_template.jinja").write_text("never asked")
    assert checkpoint_identity(files, templates=False) == {
        part: before[part] for part in ("weights", "settings", "tokens")
    }
    # Another tokenizer brings its own templates and code along.
    other = Path(shutil.copytree(folder, tmp_path / "tokenizer"))
    edit(other / "tokenizer_config.json", add_bos_token=False)
    (other / "tokenization_own.py").write_text("run too")
    with_other = checkpoint_identity(files, tokenizer=other, code=True)
    plain = checkpoint_identity(files, code=True)
    assert [part for part in plain if plain[part] != with_other[part]] == ["tokens", "code"]


def test_code_that_stands_in_another_model_of_the_hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = {"AutoModelForCausalLM": "org/code--modeling.Own", "AutoConfig": "configuration.Own"}
    edit(folder / "config.json", auto_map=auto)
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "org/code--t.Fast"]})
    there = tmp_path / "there"
    write(there / "modeling.py", "x = 1")
    asked = []

    def download(name: str, **_: Any) -> str:
        asked.append(name)
        return str(there)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    before = identity(folder)
    assert set(asked) == {"org/code"}
    assert identity(folder) == before
    write(there / "modeling.py", "x = 2")
    after = identity(folder)
    assert [part for part in before if before[part] != after[part]] == ["code"]

    def offline(*_: object, **__: object) -> str:
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(BadInput, match=r"stands in 'org/code' of the hub, which could not be had"):
        identity(folder)
    # Where no code is run, none is looked for.
    assert identity(folder, code=False)


def test_a_settings_file_that_is_no_json_still_counts(folder: Path) -> None:
    (folder / "generation_config.json").write_text("{")
    one = identity(folder)
    (folder / "generation_config.json").write_text("{ ")
    assert identity(folder)["generation"] != one["generation"]


def test_identities_of_version_0_1_are_compared_by_what_both_kept() -> None:
    model = {"name": "m", "weights": "w", "config": "c", "tokenizer": "t", "chat_template": None}
    old = {"model": model, "seed": 1, "judge": {"judge": "j", "weights": "v-t"}}
    now = {
        "model": {"name": "m", "weights": "w", "settings": "s", "chat_template": None},
        "seed": 1,
        "date": "fixed",
        "judge": {"judge": "j", "weights": "v", "dtype": "float32"},
    }
    assert is_earlier(old)
    assert not is_earlier(now)
    assert differences(*shared_parts(old, now)) == []
    assert len(differences(old, now)) == 6
    other = {**now, "judge": {"judge": "j", "weights": "u"}, "seed": 2}
    assert differences(*shared_parts(old, other)) == [
        "seed: 1 there, 2 asked for",
        'judge.weights: "v" there, "u" asked for',
    ]
    # Fewer items than then, which was not kept where nobody asked for it.
    assert joined(old, now)[1] == []
    assert joined(old, {**now, "precision": 1.0})[1] == ["precision: null there, 1.0 asked for"]
