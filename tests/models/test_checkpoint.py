"""Checkpoint folders are looked at before anything is loaded."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.evaluation.chat_prompts import choose_template
from bfpo_bench.models.chat import chat_templates, read_chat_template
from bfpo_bench.models.checkpoint import find_model, find_tokenizer, safetensors_header


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


def test_a_whole_folder(folder: Path) -> None:
    files = find_model(str(folder))
    assert files.name == "model"
    assert [f.name for f in files.weights] == ["model.safetensors"]
    assert files.config["model_type"] == "llama"


def test_header_lists_what_the_file_holds(folder: Path) -> None:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert set(safetensors_header(folder / "model.safetensors")) == names


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


def test_missing_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match=r"lacks 1 of 2 weight files, the first is model-2"):
        find_model(str(folder))


def test_chat_template_from_either_place(tmp_path: Path) -> None:
    assert read_chat_template(tmp_path) is None
    config = {"chat_template": [{"name": "default", "template": "A"}, {"name": "x"}]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert read_chat_template(tmp_path) == "A"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "B"}))
    assert read_chat_template(tmp_path) == "B"
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "P"}))
    assert read_chat_template(tmp_path) == "B"
    (tmp_path / "chat_template.jinja").write_text("C")
    assert read_chat_template(tmp_path) == "C"


def test_chat_templates_by_name(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "P"}))
    assert read_chat_template(tmp_path) == "P"
    (tmp_path / "chat_template.json").unlink()
    config = {"chat_template": [{"name": "tool_use", "template": "T"}]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("R")
    assert chat_templates(tmp_path) == {"tool_use": "T", "rag": "R"}
    with pytest.raises(BadInput) as caught:
        read_chat_template(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} has chat templates named 'tool_use', 'rag' and none named 'default'; choose "
        "one of them with --chat-template NAME, or save the one that is meant as "
        "chat_template.jinja there."
    )
    assert choose_template("rag", tmp_path) == "R"
    with pytest.raises(BadInput) as caught:
        choose_template("ragg", tmp_path)
    assert str(caught.value).endswith(
        "give auto, never, the path of a Jinja file, or one of the names tool_use, rag."
    )
    (tmp_path / "chat_template.jinja").write_text("C")
    assert read_chat_template(tmp_path) == "C"


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


@pytest.mark.parametrize("text", ["[]", "{", '{"weight_map": 1}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_says_nothing(folder: Path, text: str) -> None:
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(BadInput, match="does not say which weight file holds what"):
        find_model(str(folder))


def test_weights_that_are_not_what_their_header_says(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()

    def said() -> str:
        with pytest.raises(BadInput) as caught:
            find_model(str(folder))
        return (
            str(caught.value)
            .removeprefix(f"{path} ")
            .removesuffix("; copy or download the file again.")
        )

    path.write_bytes(whole[:4])
    assert said() == "is no whole safetensors file (4 bytes)"
    for kept in (100, len(whole) - 1):
        path.write_bytes(whole[:kept])
        assert said().startswith("is cut off") == (kept > 100)
    assert said() == f"is cut off: {len(whole) - 1} of {len(whole)} bytes are there"
    path.write_bytes(whole + b"\0\0")
    assert said() == "has 2 bytes more than its header says"
    for header in (b"{", b"[1]", b'{"a": 1}', b'{"a": {"data_offsets": []}}', b"\xff\xfe"):
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        assert said() == "has a damaged header"
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(BadInput, match=r"^the weights .* cannot be read \(Too many levels of"):
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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.jinja", b"\xff\xfe{"),
        ("tokenizer_config.json", b"{"),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer_config.json", b'{"chat_template": ["x"]}'),
        ("tokenizer_config.json", b'{"chat_template": "\\ud800"}'),
        ("chat_template.json", b"{"),
    ],
)
def test_chat_templates_that_cannot_be_read(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput) as caught:
        read_chat_template(tmp_path)
    assert f"no chat template can be read from {tmp_path / name} (" in str(caught.value)
    assert str(caught.value).endswith(
        "); copy the file again, or name a template with --chat-template."
    )


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


@pytest.mark.parametrize("sharded", [False, True])
def test_weights_that_are_there_twice(folder: Path, sharded: bool) -> None:
    """Mistral's folders hold them once more, by its own names; they are neither hashed nor read."""
    from bfpo_bench.engines.vllm.files import other_weights, without
    from bfpo_bench.models.fingerprint import weight_fingerprint

    before = weight_fingerprint(find_model(str(folder)).weights)
    if sharded:
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    own = next(folder.glob("model*.safetensors"))
    shutil.copy(own, folder / "consolidated.safetensors")
    files = find_model(str(folder))
    assert files.weights == (own,)
    assert weight_fingerprint(files.weights) == before
    assert other_weights(folder) == {"consolidated.safetensors"}
    with without(EngineOptions(str(folder)), other_weights(folder)) as seen:
        there = {path.name for path in Path(seen.model).iterdir()}
        assert there == {path.name for path in folder.iterdir()} - {"consolidated.safetensors"}
        assert find_model(seen.model).config == files.config
    assert not Path(seen.model).exists()
    assert (folder / "consolidated.safetensors").exists()


def test_a_tokenizer_in_tiktokens_format_is_one(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "own.tiktoken")
    assert find_tokenizer(str(folder)) == folder
