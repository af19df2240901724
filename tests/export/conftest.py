"""A run directory made by hand: what an evaluation leaves behind, without a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.export import FORMATS
from bfpo_bench.run.store import (
    ItemRecord,
    OutcomeRecord,
    ResponseRecord,
    ScoreRecord,
    Store,
    VerdictRecord,
)

JUDGED = "bfpo_alert"
SCORED = "bfpo_winogrande"
GENERATION = {"temperature": 0.7, "top_p": 1.0, "max_new_tokens": 256, "stop": []}
IDENTITY: dict[str, Any] = {
    "model": {"name": "org/model", "weights": "0" * 32, "chat_template": None, "revision": None},
    "backend": "hf",
    "dtype": "float32",
    "system_prompt": None,
    "suite": {"name": "paper", "version": 1},
    "tasks": {
        SCORED: {"version": 1, "generation": None},
        JUDGED: {"version": 1, "generation": GENERATION},
    },
    "data": {"winogrande": {"variant": "default"}, "alert": {"variant": "default"}},
    "limit": None,
    "seed": 0,
    "judge": {"judge": "strict", "kind": "classifier"},
}


OF_SAMPLES = tuple(format for format in FORMATS if format not in ("eee", "hub"))
"""Formats that need no results."""

MakeRun = Callable[..., Path]


def write_run_json(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"schema": 1, "identity": IDENTITY, "environment": {}, "sessions": [], **changes}
    (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def prompt_row(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "category": "c", "id": "1"}


def response(item: str, prompt: str, text: str) -> ResponseRecord:
    return ResponseRecord(f"r-{item}", JUDGED, item, prompt, prompt, text, "stop", 7, 3, 2, 0)


def fill(store: Store, exchanges: Iterable[tuple[str, str]]) -> None:
    """Two WinoGrande items and a response per exchange, judged by two judges."""
    items = [
        ("b" * 16, 0, {"sentence": "_ ran.", "option1": "He", "option2": "She", "answer": "1"}),
        ("a" * 16, 1, {"sentence": "_ sat.", "option1": "He", "option2": "She", "answer": "2"}),
    ]
    for item, position, row in items:
        store.add_items([ItemRecord(SCORED, item, position, json.dumps(row))])
        rest = row["sentence"].removeprefix("_")
        store.add_scores(
            ScoreRecord(f"s-{item}-{i}", SCORED, item, i, row[f"option{i + 1}"], rest, ll, False, 0)
            for i, ll in enumerate((-1.5, -2.25))
        )
        store.add_outcomes([OutcomeRecord(SCORED, item, "acc", 1.0 - position)])
    for position, (prompt, text) in enumerate(exchanges):
        item = f"{position:016x}"
        store.add_items([ItemRecord(JUDGED, item, position, json.dumps(prompt_row(prompt)))])
        store.add_responses([response(item, prompt, text)])
        store.add_verdicts(
            [
                VerdictRecord(f"v1-{item}", "strict", JUDGED, item, position % 2 == 0, 0.75, "yes"),
                VerdictRecord(
                    *(f"v2-{item}", "lenient", JUDGED, item, None, None, "no answer"),
                    *("full_refusal", 0.875),
                ),
            ]
        )


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run with the given (prompt, response) pairs and returns its folder."""

    def make(exchanges: Iterable[tuple[str, str]] = (("hello", "world"),), **changes: Any) -> Path:
        folder = write_run_json(tmp_path / "my-run", **changes)
        with Store(folder / "samples.sqlite") as store:
            fill(store, exchanges)
        return folder

    return make


def lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_bytes()
    assert text.isascii()
    return [json.loads(line) for line in text.splitlines()]
