"""Configs that describe another model than their weights; SmolLM2's sizes as published."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.models.checkpoint import find_model, find_tokenizer
from bfpo_bench.models.sizes import check_sizes
from bfpo_bench.models.weights import safetensors_header

SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "rope_theta": 100000,
    "max_position_embeddings": 10**30,
}
PARAMETERS = 134_515_008
HEADER = {f"t{i}": {"data_offsets": (0, 0)} for i in range(271)} | {
    "all": {"data_offsets": (0, 2 * PARAMETERS)}
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"num_hidden_layers": None, "vocab_size": "49152"},
        {"text_config": SMOLLM2, "id2label": {}},
        {"rms_norm_eps": 1e-5, "num_labels": 0},
    ],
)
def test_usual_configs(change: dict[str, Any]) -> None:
    check_sizes(Path("config.json"), SMOLLM2 | change, [HEADER])
    # All parameters in four bits, and two in a byte.
    packed = {"all": {"data_offsets": (0, PARAMETERS // 2)}}
    check_sizes(Path("config.json"), SMOLLM2, [HEADER | packed])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_hidden_layers": 10**7}, "names 10,000,000 layers, and .* bytes in 272 tensors"),
        ({"n_layer": 10**7, "num_hidden_layers": None}, "names 10,000,000 layers"),
        ({"vocab_size": 10**12}, r"says that vocab_size is about 10\^12"),
        ({"num_attention_heads": 10**40}, r"says that num_attention_heads is about 10\^40"),
        ({"num_attention_heads": 0}, "says that num_attention_heads is 0"),
        ({"hidden_size": -576}, "says that hidden_size is -576"),
        ({"hidden_size": 10**6}, r"describes a model of about 10\^13 numbers"),
        ({"num_labels": 10**10}, "says that num_labels is 10,000,000,000"),
        ({"text_config": SMOLLM2 | {"num_layers": -1}}, "says that num_layers is -1"),
    ],
)
def test_configs_of_another_model(change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=rf"config\.json {says}.*; copy the config again"):
        check_sizes(Path("config.json"), SMOLLM2 | change, [HEADER])


def write(path: Path, header: bytes, length: int | None = None, size: int = 0) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header)
    if size:
        with path.open("rb+") as file:
            file.truncate(size)
    return path


def tensor(begin: int, end: int, **more: Any) -> dict[str, Any]:
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end], **more}


def test_headers_that_no_library_writes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write(path, b"", 1 << 30, 2 << 30)
    with pytest.raises(BadInput, match="no whole safetensors file"):
        safetensors_header(path)
    for tensors in (
        {"a": tensor(0, 8), "b": tensor(0, 8)},
        {"a": tensor(0, 8), "b": tensor(9, 10)},
        {"a": tensor(0, 8, shape=["8"])},
        {"a": tensor(0, 8, shape=[-8])},
        {"a": tensor(0, 8, shape=[10**12, 8])},
        {"a": tensor(0, 10, shape=[4], dtype="F16")},
        {"a": tensor(0, 10, shape=[9], dtype="F8_E4M3")},
        {"a": tensor(0, 10, shape=[1] * 16 + [10])},
        {"a": tensor(0, 8, data_offsets=[0, 4, 8])},
    ):
        header = json.dumps(tensors).encode()
        write(path, header, size=8 + len(header) + 10)
        with pytest.raises(BadInput, match="has a damaged header"):
            safetensors_header(path)
    header = json.dumps({"a": tensor(0, 8), "b": tensor(8, 10)}).encode()
    assert len(safetensors_header(write(path, header, size=8 + len(header) + 10))) == 2


def test_files_beside_the_weights(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    outside = write(tmp_path / "secret.safetensors", b"{}")
    index = tmp_path / "model" / "model.safetensors.index.json"
    for name in ("../secret.safetensors", str(outside)):
        index.write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(BadInput, match="names a weight file outside the model's folder"):
            find_model(str(tmp_path / "model"))
    index.write_text("[" * 100_000)
    with pytest.raises(BadInput, match="more than 60 levels deep"):
        find_model(str(tmp_path / "model"))
    write(tmp_path / "model" / "tokenizer.json", b"", size=1 << 30)
    with pytest.raises(
        BadInput, match=r"tokenizer\.json has 1,024 MiB, where at most 256 are read"
    ):
        find_tokenizer(str(tmp_path / "model"))
    (tmp_path / "model" / "config.json").write_text(" " * (17 << 20))
    with pytest.raises(BadInput, match=r"config.json is not JSON \(it is longer than 16 MiB\)"):
        find_model(str(tmp_path / "model"))
