"""Checkpoint folders are looked at before anything is loaded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.models.checkpoint import find_model, find_tokenizer


def test_a_whole_folder(folder: Path) -> None:
    files = find_model(str(folder))
    assert files.name == "model"
    assert [f.name for f in files.weights] == ["model.safetensors"]
    assert files.config["model_type"] == "llama"


def test_missing_folder_and_unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match=r"no model folder '\./nowhere'; give the path of"):
        find_model("./nowhere")
    with pytest.raises(BadInput, match=r"\(it is a file\); give the path of a checkpoint folder"):
        find_model(__file__)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub

    def offline(*_: object, **__: object) -> str:
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(BadInput, match="is no folder here and could not be had from"):
        find_model("some/model")


def test_missing_files(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "gone")
    with pytest.raises(BadInput, match=r"; save it there with tokenizer\.save_pretrained"):
        find_model(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="no weights"):
        find_model(str(folder))
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(BadInput, match="pickled weights only"):
        find_model(str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(
        BadInput, match=r"config\.json is not JSON \(Expecting .*\); copy the config again"
    ):
        find_model(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(BadInput, match=r"no config\.json"):
        find_model(str(folder))


def test_a_path_that_no_file_could_name(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / os.fsdecode(b"m\xff")
    try:
        folder.rename(other)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    with pytest.raises(BadInput, match="is no UTF-8, and no file that names it could be; rename"):
        find_model(str(other))


def test_a_folder_has_no_revisions(folder: Path) -> None:
    with pytest.raises(BadInput, match="is a folder, which has no revisions; leave --revision out"):
        find_model(str(folder), "main")


@pytest.mark.parametrize("name", ["x" * 300, "~nobody-of-this-name/model"])
def test_names_that_no_folder_can_have(name: str) -> None:
    with pytest.raises(
        BadInput, match=r"^the model folder '.* cannot be read \(.*\); give one that"
    ):
        find_model(name)
    with pytest.raises(
        BadInput, match=r"^the tokenizer folder '.* cannot be read \(.*\); give one"
    ):
        find_tokenizer(name)


def test_settings_of_another_kind(folder: Path) -> None:
    (folder / "config.json").write_text("[1]")
    with pytest.raises(BadInput, match="holds list where the model's settings should be; copy the"):
        find_model(str(folder))


def test_tokenizers_that_are_not_there(folder: Path, tmp_path: Path) -> None:
    assert find_tokenizer(str(folder)) == folder
    with pytest.raises(BadInput, match=r"there is no tokenizer folder '\./nowhere'; give a folder"):
        find_tokenizer("./nowhere")
    with pytest.raises(BadInput, match=r"no tokenizer folder '.*' \(it is a file\); give a folder"):
        find_tokenizer(str(folder / "config.json"))
    with pytest.raises(
        BadInput,
        match=r"has no tokenizer \(tokenizer.json or tokenizer.model\); name the folder of one",
    ):
        find_tokenizer(str(tmp_path))


# ------------------------------------------------------------------ what the hub is asked for

REPOSITORY = (
    *("config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"),
    *("consolidated.safetensors", "consolidated-00001-of-00002.safetensors", "params.json"),
    *("original/consolidated.00.pth", "original/params.json", "original/model.safetensors"),
    *("checkpoint-100/model.safetensors", "pytorch_model.bin", "model.gguf", "onnx/model.onnx"),
    *("tokenizer.model", "qwen.tiktoken", "merges.txt", "chat_template.jinja"),
    *("additional_chat_templates/tool_use.jinja", "modeling_own.py", "code/attention.py"),
    *("adapter_config.json", "adapter_model.safetensors", "README.md"),
)
FETCHED = {
    *("config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"),
    *("params.json", "tokenizer.model", "qwen.tiktoken", "merges.txt", "chat_template.jinja"),
    *("additional_chat_templates/tool_use.jinja", "adapter_config.json"),
    "adapter_model.safetensors",
}


@pytest.mark.parametrize("code", [False, True])
def test_what_is_fetched_from_the_hub(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: bool
) -> None:
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    from bfpo_bench.evaluation.options import EvaluateOptions
    from bfpo_bench.evaluation.target import find_target

    fetched = []

    def download(name: str, revision: str | None = None, **patterns: list[str]) -> str:
        fetched.append(set(filter_repo_objects(REPOSITORY, **patterns)))  # type: ignore[arg-type]
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    options = EvaluateOptions("org/model", tokenizer="org/tokens", trust_remote_code=code)
    find_target(options, "hf")
    expected = FETCHED | ({"modeling_own.py", "code/attention.py"} if code else set())
    assert fetched == [expected, expected]


def test_a_tokenizer_in_tiktokens_format_is_one(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "own.tiktoken")
    assert find_tokenizer(str(folder)) == folder
