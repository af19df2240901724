"""A checkpoint's own generation settings are not used, and the results say so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.models.own_settings import unused_settings


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


def ask(folder: Path, settings: Any, name: str = "generation_config.json") -> None:
    before = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps({**before, **settings}), encoding="utf-8")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, []),
        # What the suite says of itself, and values that do nothing.
        ({"temperature": 0.6, "top_p": 0.9, "top_k": 20, "do_sample": True, "max_length": 99}, []),
        ({"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "num_beams": 1}, []),
        ({"suppress_tokens": [], "bad_words_ids": None}, []),
        ({"repetition_penalty": 1.3}, ["repetition_penalty 1.3 was not used"]),
        (
            {"no_repeat_ngram_size": 3, "repetition_penalty": 1.05, "suppress_tokens": [5, 6]},
            ["repetition_penalty 1.05, no_repeat_ngram_size 3 and suppress_tokens were not used"],
        ),
    ],
)
def test_the_mark(folder: Path, settings: dict[str, Any], told: list[str]) -> None:
    ask(folder, settings)
    found = unused_settings(find_model(str(folder)))
    assert found == [f"the checkpoint's own {one}" for one in told]


def test_where_there_is_no_generation_config_the_models_counts(folder: Path) -> None:
    (folder / "generation_config.json").write_text("{", encoding="utf-8")
    assert unused_settings(find_model(str(folder))) == []
    (folder / "generation_config.json").unlink()
    ask(folder, {"repetition_penalty": 1.2}, "config.json")
    assert unused_settings(find_model(str(folder))) == [
        "the checkpoint's own repetition_penalty 1.2 was not used"
    ]


def test_it_stands_beside_what_was_generated_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    ask(folder, {"repetition_penalty": 1.3})
    results = bfpo_bench.evaluate(
        str(folder),
        suite="mini",
        judge="keyword",
        backend="hf",
        device="cpu",
        tasks=["advbench", "toxigen"],
        limit=1,
        output=tmp_path / "run",
    )
    mark = "the checkpoint's own repetition_penalty 1.3 was not used"
    assert mark in results.tasks["bfpo_advbench"].marks
    assert mark not in results.tasks["bfpo_toxigen"].marks
