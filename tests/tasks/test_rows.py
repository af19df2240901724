"""What lm-eval hands to `dataset`, and what comes back."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data import Source
from bfpo_bench.tasks import rows as module
from bfpo_bench.tasks.rows import dataset

ROWS = [{"goal": "bake", "target": "Sure"}, {"goal": "knit", "target": "Sure"}]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What `load_source` was asked for; it yields `ROWS`."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def load(source: Source, **how: Any) -> SimpleNamespace:
        calls.append((source.name, how))
        return SimpleNamespace(rows=ROWS, marks=["not the pinned copy"])

    monkeypatch.setattr(module, "load_source", load)
    monkeypatch.setattr(Source, "ids", lambda _, rows: [f"{row['goal']}-id" for row in rows])
    return calls


def test_rows_carry_their_fields_and_an_id(asked: list[tuple[str, dict[str, Any]]]) -> None:
    test = dataset("advbench")["test"]
    assert test.to_list() == [
        {"goal": "bake", "target": "Sure", "item_id": "bake-id"},
        {"goal": "knit", "target": "Sure", "item_id": "knit-id"},
    ]
    defaults = {"data_dir": None, "variant": None, "mini": False, "allow_unpinned": False}
    assert asked == [("advbench", defaults)]


def test_metadata_of_the_run_reaches_the_source(asked: list[tuple[str, dict[str, Any]]]) -> None:
    dataset(
        "advbench",
        data_dir="/data",
        variants={"advbench": "transfer", "crows_pairs": "original"},
        mini=True,
        allow_unpinned=True,
    )
    dataset("bbq_lite", variants={"advbench": "transfer"})
    assert asked[0] == (
        "advbench",
        {
            "data_dir": Path("/data"),
            "variant": "transfer",
            "mini": True,
            "allow_unpinned": True,
        },
    )
    assert asked[1][1]["variant"] is None


def test_a_variant_in_the_yaml_wins(asked: list[tuple[str, dict[str, Any]]]) -> None:
    dataset("advbench", variant="transfer", variants={"advbench": "full"})
    assert asked[0][1]["variant"] == "transfer"


def test_what_else_lm_eval_passes_is_ignored(asked: list[tuple[str, dict[str, Any]]]) -> None:
    others = {"version": 1, "config_source": "x.yaml", "pretrained": "gpt2", "dtype": "auto"}
    assert len(dataset("advbench", **others)["test"]) == 2


def test_marks_are_logged(
    asked: list[tuple[str, dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    dataset("advbench")
    assert caplog.record_tuples == [
        ("bfpo_bench.tasks.rows", logging.WARNING, "not the pinned copy")
    ]


def test_variants_that_are_no_mapping_are_refused() -> None:
    with pytest.raises(
        BadInput, match=r"metadata 'variants' is 'transfer'; give a mapping such as"
    ):
        dataset("advbench", variants="transfer")  # type: ignore[arg-type]


def test_unknown_source_is_refused() -> None:
    with pytest.raises(BadInput, match="advbench"):
        dataset("advbensh")
