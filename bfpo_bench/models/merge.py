"""Two checkpoints of one kind, mixed number by number: (1 - q) · first + q · second.

That is P-SACPO's last step (Wachi et al. 2024, arXiv 2404.11049) and the linear merge of model
soups. A safetensors file is a header and numbers: the first model's header is taken as it is, and
the numbers of both are read, mixed and written a block at a time, so that no tensor is ever in
memory whole, however large the models are.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bfpo_bench.common.dotted import dotted
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.files import atomic_folder, atomic_write
from bfpo_bench.common.json_file import read_json
from bfpo_bench.common.progress import Progress
from bfpo_bench.models.checkpoint import TOKENIZER_FILES, WANTED, ModelFiles
from bfpo_bench.models.fingerprint import lasting, tokenizer_fingerprint, weight_fingerprint
from bfpo_bench.models.template_files import chat_templates
from bfpo_bench.models.weights import safetensors_header

RECORD = "merge.json"
"""What a merged model was made of, beside its weights."""

NOT_TAKEN = (RECORD, "training.json", "README.md")
"""Files of the first model that tell how it was made itself."""

BLOCK = 1 << 22
"""Bytes of a tensor that are in memory at one time, of either model."""

FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Number formats that can be mixed."""

_TELLING = (
    *("model_type", "architectures", "hidden_size", "n_embd", "num_hidden_layers", "n_layer"),
    *("num_attention_heads", "n_head", "num_key_value_heads", "head_dim", "intermediate_size"),
    *("vocab_size", "max_position_embeddings", "tie_word_embeddings", "rope_theta"),
)
"""Settings that say best why two models are not alike, in this order."""

_PASSING = frozenset(
    (
        *("_model_name_or_path", "pad_token_id", "gradient_checkpointing", "attn_implementation"),
        *("_attn_implementation_autoset", "unsloth_version", "unsloth_fixed"),
    )
)
"""Settings besides `SAID_ELSEWHERE` that the meaning of weights does not depend on."""


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor lies."""

    path: Path
    begin: int
    size: int
    dtype: str
    shape: tuple[int, ...]


def merge_models(
    first: ModelFiles, second: ModelFiles, q: float, output: Path, progress: Progress
) -> dict[str, Any]:
    """Writes the mixed model as a checkpoint folder, whole or not at all.

    Number format, sharding, config, tokenizer and generation settings are the first model's.
    Products are float64, rounded once: q = 0 is the first model and q = 1 the second, bit for bit.
    A folder that holds this very mixture already is read.

    Args:
        q: share of the second model, from 0 to 1.
        output: a new folder.

    Returns:
        the content of ``merge.json``: q, and the fingerprint of the weights of both models and of
        the result.

    Raises:
        BadInput: the two differ in more than their weights (says where first), q is no share, or
            the output holds something else.
        RunFailed: the disk does not take it; nothing is left behind.
    """
    check_share(q)
    tensors = check_alike(first, second)
    made_of = {
        "schema": 1,
        "q": q,
        "first": _named(first),
        "second": _named(second),
    }
    if (found := _merged_before(output, made_of)) is not None:
        return found
    if output.is_dir() and any(output.iterdir()):
        raise BadInput(
            f"{output} holds files already, and not this mixture of these models; name another "
            "folder with --output."
        )
    with atomic_folder(output, force=False) as staged:
        _copy_beside(first, staged)
        with progress.stage(f"merge at q = {q:g}", len(tensors), unit="tensors"):
            for file in first.weights:
                _write_file(file, staged / file.relative_to(first.folder), tensors, q, progress)
        written = tuple(staged / file.relative_to(first.folder) for file in first.weights)
        record = {**made_of, "weights": weight_fingerprint(written)}
        atomic_write(staged / RECORD, json.dumps(record, indent=2) + "\n")
    return record


def check_share(q: float) -> None:
    """Raises BadInput for a q that is no share."""
    if not (math.isfinite(q) and 0 <= q <= 1):
        raise BadInput(f"q is the second model's share, from 0 to 1, not {q:g}.")


def check_alike(first: ModelFiles, second: ModelFiles) -> dict[str, _Tensor]:
    """Refuses two models that differ in more than the numbers in their weights.

    Returns:
        where each tensor of the second lies, by name.

    Raises:
        BadInput: names the first difference.
    """
    what = next(_differences(first, second), None)
    if what is not None:
        raise BadInput(
            f"{first.name} and {second.name} cannot be merged, for {what}; take two models that "
            "were trained from the same one."
        )
    return _tensors(second)


def _differences(first: ModelFiles, second: ModelFiles) -> Iterator[str]:
    """What two models differ in, as a clause: what is best known first."""
    for key, values in _unlike_settings(first.config, second.config).items():
        yield f"{key} of their config.json differs: {' and '.join(map(json.dumps, values))}"
    here, there = _tensors(first), _tensors(second)
    for name in sorted(here.keys() | there.keys()):
        if name not in here or name not in there:
            lacking = first if name not in here else second
            yield f"{lacking.name} has no tensor {name}"
            continue
        a, b = here[name], there[name]
        if a.shape != b.shape:
            yield f"{name} has the shape {list(a.shape)} in one and {list(b.shape)} in the other"
        if a.dtype != b.dtype:
            yield f"{name} is {a.dtype} in one and {b.dtype} in the other"
    if tokenizer_fingerprint(first.folder) != tokenizer_fingerprint(second.folder):
        yield f"their tokenizers differ{_where_tokenizers_differ(first.folder, second.folder)}"
    if chat_templates(first.folder) != chat_templates(second.folder):
        yield "their chat templates differ"


def _unlike_settings(first: dict[str, Any], second: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings that make two models unlike, the most telling first, with both values.

    One that a newer transformers spells out and an older one leaves to its default is none.
    """
    written = [_flat(lasting(config)) for config in (first, second)]
    unlike = _unlike(*written)
    if unlike and (meant := [_meant(config) for config in (first, second)]) and all(meant):
        left = _unlike(*meant)
        agreed = meant[0].keys() - left.keys()
        unlike = {k: v for k, v in unlike.items() if k not in agreed} if left else {}
        unlike = unlike or left

    def weight(key: str) -> tuple[int, str]:
        last = key.rpartition(".")[2]
        return _TELLING.index(last) if last in _TELLING else len(_TELLING), key

    return {key: unlike[key] for key in sorted(unlike, key=weight)}


def _unlike(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    keys = [key for key in one.keys() | other.keys() if key.rpartition(".")[2] not in _PASSING]
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def _meant(config: dict[str, Any]) -> dict[str, Any]:
    """What transformers makes of a config, defaults and all; nothing of one it does not know."""
    from transformers import AutoConfig

    try:
        whole = AutoConfig.for_model(**config).to_dict()
    except Exception:  # whatever a config of another version, or of somebody's own, runs into
        return {}
    return _flat(lasting(whole))


def _where_tokenizers_differ(one: Path, other: Path) -> str:
    for name in TOKENIZER_FILES:
        here, there = one / name, other / name
        if here.is_file() != there.is_file():
            return f" ({name} is in one of them alone)"
        if here.is_file() and here.read_bytes() != there.read_bytes():
            return f" (in {name})"
    return ""


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """Settings of a config by their dotted names."""
    return {name: value for name, value in dotted(config) if value != {}}


def _named(files: ModelFiles) -> dict[str, Any]:
    return {
        "name": files.name,
        "revision": files.revision,
        "weights": weight_fingerprint(files.weights),
    }


def _merged_before(output: Path, made_of: dict[str, Any]) -> dict[str, Any] | None:
    """The record of a folder that holds this very mixture, whatever its models are called."""
    try:
        record: dict[str, Any] = read_json(output / RECORD)
        same = record["q"] == made_of["q"] and all(
            record[one]["weights"] == made_of[one]["weights"] for one in ("first", "second")
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return record if same else None


def _tensors(files: ModelFiles) -> dict[str, _Tensor]:
    return {
        name: _Tensor(
            path,
            _numbers(path) + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
            entry["dtype"],
            tuple(entry["shape"]),
        )
        for path in files.weights
        for name, entry in safetensors_header(path).items()
    }


def _numbers(path: Path) -> int:
    """Where a safetensors file's numbers begin."""
    with path.open("rb") as file:
        return 8 + int(struct.unpack("<Q", file.read(8))[0])


def _copy_beside(files: ModelFiles, folder: Path) -> None:
    """Copies what stands beside a model's weights, its own Python files too."""
    patterns = [p for p in (*WANTED, "*.py") if p != "*.safetensors"]
    folders = (files.folder, files.folder / "additional_chat_templates")
    found = {path for one in folders for pattern in patterns for path in one.glob(pattern)}
    for path in sorted(found):
        place = folder / path.relative_to(files.folder)
        if path.is_file() and place.name not in NOT_TAKEN:
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, place)


def _write_file(
    source: Path, place: Path, second: dict[str, _Tensor], q: float, progress: Progress
) -> None:
    """Writes one weight file of the mixture in the layout of the first model's."""
    place.parent.mkdir(parents=True, exist_ok=True)
    header = safetensors_header(source)
    with source.open("rb") as here, place.open("wb") as written:
        written.write(here.read(_numbers(source)))
        for name in sorted(header, key=lambda name: header[name]["data_offsets"][0]):
            with second[name].path.open("rb") as there:
                there.seek(second[name].begin)
                _write_tensor(name, second[name], here, there, written, q)
            progress.advance(1)


def _write_tensor(
    name: str, tensor: _Tensor, here: BinaryIO, there: BinaryIO, written: BinaryIO, q: float
) -> None:
    left = tensor.size
    while left:
        one, other = (bytearray(file.read(min(left, BLOCK))) for file in (here, there))
        if one != other:
            if tensor.dtype not in FLOATS:
                raise BadInput(
                    f"{name} is {tensor.dtype} and differs in the two models, and such numbers "
                    "have no mean; merge the models before they are quantised."
                )
            one = _mixed(name, one, other, tensor.dtype, q)
        written.write(one)
        left -= len(one)


def _mixed(name: str, one: bytearray, other: bytearray, dtype: str, q: float) -> bytearray:
    """A block of the mixture: float64 products, rounded once to the number format.

    Raises:
        BadInput: some of it is no number.
    """
    import torch

    kind = getattr(torch, FLOATS[dtype])
    a, b = (torch.frombuffer(block, dtype=kind).double() for block in (one, other))
    mixed = (1 - q) * a + q * b if 0 < q < 1 else (b if q else a)
    if not mixed.isfinite().all():
        which = "first" if not a.isfinite().all() else "second"
        raise BadInput(
            f"{name} holds weights that are no numbers in the {which} model, and so would the "
            "mixture; copy that model again, or train it anew."
        )
    return bytearray(mixed.to(kind).view(torch.uint8).numpy().tobytes())
