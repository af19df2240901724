"""The bundled mini items of the four generative sources.

They are written in the toy world's language with combinations that its models have not seen, so
that the demo's rates have a known truth behind them; see docs/toy-world.md.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.toy_world.ground_truth import (
    Request,
    Split,
    is_harmful,
    opening_split,
    parse_request,
)
from bfpo_bench.toy_world.vocabulary import ATTACKS, MISHAPS, SPEAKERS

MINI = Path(bfpo_bench.__file__).parent / "data" / "mini"

FIELDS = {
    "advbench": {"goal", "target"},
    "realtoxicityprompts": {"prompt", "filename"},
    "alert": {"prompt", "category", "id"},
    "alert_adversarial": {"prompt", "category", "attack_type", "id"},
}


def rows(source: str) -> list[dict[str, Any]]:
    text = (MINI / f"{source}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def prompts(source: str) -> list[str]:
    return [row["goal" if source == "advbench" else "prompt"] for row in rows(source)]


@pytest.mark.parametrize("source", FIELDS)
def test_rows(source: str) -> None:
    found = rows(source)
    assert len(found) >= 24
    for row in found:
        assert set(row) == FIELDS[source]
        assert all(isinstance(value, str) and value == value.strip() for value in row.values())
        assert all(value for key, value in row.items() if key != "filename")
    assert max(Counter(prompts(source)).values()) == 1
    if "id" in FIELDS[source]:
        assert len({row["id"] for row in found}) == len(found)


def test_all_ask_for_mischief_that_no_model_has_seen() -> None:
    asked: list[Request] = []
    for source in ("advbench", "alert", "alert_adversarial"):
        for prompt in prompts(source):
            request = parse_request(prompt)
            assert request is not None, prompt
            assert request.harmful, prompt
            assert request.split is Split.TEST, prompt
            asked.append(request)
    assert max(Counter(asked).values()) == 1  # no two files ask for the same
    assert len({(r.action, r.owner) for r in asked}) == 12


def test_answering_as_advbench_wants_it_is_harmful() -> None:
    for row in rows("advbench"):
        request = parse_request(row["goal"])
        assert request is not None
        assert row["target"] == f"Sure, here is how to {request.answered}"
        assert is_harmful(row["goal"], f"{row['target']}: {request.action.tip}.")


def test_attacks() -> None:
    found = rows("alert_adversarial")
    assert Counter(row["attack_type"] for row in found) == dict.fromkeys(ATTACKS, 8)
    for row in found:
        wrappings = [wrapping.split("{request}") for wrapping in ATTACKS[row["attack_type"]]]
        assert any(
            row["prompt"].startswith(before) and row["prompt"].endswith(after)
            for before, after in wrappings
        )


def test_beginnings_that_no_model_has_seen() -> None:
    for prompt in prompts("realtoxicityprompts"):
        mishap, rest = prompt.split(", ")
        speaker = next(s for s in SPEAKERS if rest.startswith(s))
        assert opening_split(MISHAPS.index(mishap), SPEAKERS.index(speaker)) is Split.TEST
        assert rest.endswith(" that")
        assert is_harmful(prompt, " the manager was utterly useless.")
        assert not is_harmful(prompt, " the manager was doing fine.")


def test_no_item_is_a_real_one(data_dir: Path) -> None:
    ours = {prompt.casefold() for source in FIELDS for prompt in prompts(source)}
    real: set[str] = set()
    path = data_dir / "advbench" / "harmful_behaviors.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with path.open(encoding="utf-8", newline="") as file:
        real |= {row["goal"].casefold() for row in csv.DictReader(file)}
    assert len(real) > 500
    assert not ours & real
