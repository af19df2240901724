"""Small upstream files and stand-ins for the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.data import hub as hub_files


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Writes a file under tmp_path; lists of dicts become JSON lines, other values JSON."""

    def write(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_bytes(content.encode("utf-8"))
        elif isinstance(content, list):
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
            path.write_text(text, encoding="utf-8")
        else:
            path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own BFPO_DATA_DIR must not decide what these tests see."""
    monkeypatch.delenv("BFPO_DATA_DIR", raising=False)


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[tuple[Any, Any]]]:
    """Has ``datasets.load_dataset`` return given rows (or raise), and records its calls."""

    def install(answer: Any) -> list[tuple[Any, Any]]:
        import datasets

        from bfpo_bench.data.load import _load

        _load.cache_clear()
        calls: list[tuple[Any, Any]] = []

        def load_dataset(*args: Any, **kwargs: Any) -> Any:
            calls.append((args, kwargs))
            if isinstance(answer, BaseException):
                raise answer
            return datasets.Dataset.from_list(answer) if isinstance(answer, list) else answer

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        monkeypatch.setattr(hub_files, "_resolves", lambda host: True)
        return calls

    return install
