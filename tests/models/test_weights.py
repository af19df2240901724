"""Weight files and their headers, believed as far as the file bears them out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.models.weights import safetensors_header


def test_header_lists_what_the_file_holds(folder: Path) -> None:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert set(safetensors_header(folder / "model.safetensors")) == names


def test_missing_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match=r"lacks 1 of 2 weight files, the first is model-2"):
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
