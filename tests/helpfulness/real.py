"""AlpacaEval's published files, as the tests read them: by ``json`` and ``csv`` alone."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

MODELS = ("OpenHermes-2.5-Mistral-7B", "vicuna-7b-v1.5")


def annotations_file(data_dir: Path, model: str) -> Path:
    results = data_dir / "alpacaeval" / "results"
    return results / model / "weighted_alpaca_eval_gpt4_turbo" / "annotations.json"


def outputs_file(data_dir: Path, model: str) -> Path:
    return data_dir / "alpacaeval" / "results" / model / "model_outputs.json"


@cache
def rows(path: Path) -> list[dict[str, Any]]:
    """The entries of a JSON file; to be copied before they are changed."""
    content: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return content


def instructions(data_dir: Path) -> list[str]:
    return [row["instruction"] for row in rows(outputs_file(data_dir, "gpt4_1106_preview"))]


def table(data_dir: Path, name: str) -> dict[str, dict[str, str]]:
    with (data_dir / "alpacaeval" / name).open(encoding="utf-8", newline="") as file:
        return {row[""]: row for row in csv.DictReader(file)}


def leaderboard(data_dir: Path) -> dict[str, dict[str, str]]:
    return table(data_dir, "weighted_alpaca_eval_gpt4_turbo_leaderboard.csv")
