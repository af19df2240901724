"""A fingerprint changes with any number in any tensor, and with nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bfpo_bench.models import fingerprint
from bfpo_bench.models.fingerprint import weight_fingerprint


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"layer.{i}": torch.randn(50, 40, generator=generator) for i in range(4)}


def save(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file(tensors, path)
    return path


def test_any_single_number_counts(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    prints = {weight_fingerprint((save(tmp_path / "0.safetensors", tensors),))}
    for count, name in enumerate(tensors, 1):
        changed = {**tensors, name: tensors[name].clone()}
        changed[name][17, 23] += 1e-6
        prints.add(weight_fingerprint((save(tmp_path / f"{count}.safetensors", changed),)))
    assert len(prints) == 5


def test_sharding_does_not_count(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    names = list(tensors)
    whole = save(tmp_path / "whole.safetensors", tensors)
    parts = (
        save(tmp_path / "b.safetensors", {n: tensors[n] for n in names[2:]}),
        save(tmp_path / "a.safetensors", {n: tensors[n] for n in names[:2]}),
    )
    assert weight_fingerprint((whole,)) == weight_fingerprint(parts)


def test_names_types_and_shapes_count(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    first = tensors["layer.0"]
    renamed = {("other" if n == "layer.0" else n): t for n, t in tensors.items()}
    reshaped = {**tensors, "layer.0": first.reshape(40, 50)}
    retyped = {**tensors, "layer.0": first.view(torch.int32)}
    prints = {
        weight_fingerprint((save(tmp_path / f"{i}.safetensors", t),))
        for i, t in enumerate([tensors, renamed, reshaped, retyped])
    }
    assert len(prints) == 4


def test_memory_notices_a_file_changed_in_place(
    tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    path = save(tmp_path / "w.safetensors", tensors)
    before = weight_fingerprint((path,))
    assert weight_fingerprint((path,)) == before
    stat = path.stat()
    change(path)
    # Setting the modification time back does not hide the change.
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert weight_fingerprint((path,)) != before


def test_memory_notices_a_file_changed_while_it_was_read(
    tmp_path: Path, tensors: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "w.safetensors", tensors)
    hashes = fingerprint._tensor_hashes

    def slow(path: Path) -> dict[str, str]:
        found = hashes(path)
        change(path)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "_tensor_hashes", slow)
        before = weight_fingerprint((path,))
    assert weight_fingerprint((path,)) != before


def change(path: Path) -> None:
    """Turns the last bit over; no sooner than a file system's clock, which may tick at 100 Hz."""
    time.sleep(0.05)
    with path.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
