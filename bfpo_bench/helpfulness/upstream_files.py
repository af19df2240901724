"""AlpacaEval's CSV files, read and checked: see :mod:`bfpo_bench.helpfulness.upstream`.

Every reader raises a BadInput for a file that is not what its name says.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from bfpo_bench.common.errors import BadInput
from bfpo_bench.helpfulness.length_control import Gamed

HUB = "tatsu-lab/alpaca_eval"

TERMS = ("np.tanh(std_delta_len)", "instruction_difficulty", "not_gamed_baseline.astype(float)")
"""Columns of the weights: ψ, φ and θ."""


def read_weights(path: Path) -> dict[str, tuple[float, float, float]]:
    """(ψ, φ, θ) of each model."""
    found = {}
    for name, row in _rows(path, TERMS):
        length, difficulty, model = (_number(path, row[term]) for term in TERMS)
        found[name] = (length, difficulty, model)
    return found


def read_leaderboard(path: Path) -> dict[str, tuple[float, float]]:
    """Raw win rate in percent and mean length of each model."""
    columns = ("win_rate", "avg_length")
    return {
        name: (_number(path, row["win_rate"]), _number(path, row["avg_length"]))
        for name, row in _rows(path, columns)
    }


def read_difficulty(path: Path, count: int) -> list[float]:
    """γ of each of so many instructions, in their order."""
    found = {}
    for index, row in _rows(path, ()):
        values = list(row.values())
        found[index] = _number(path, values[1] if len(values) > 1 else "")
    return _in_order(path, found, count)


def read_gamed(path: Path, count: int) -> tuple[Gamed, list[float]]:
    """The gamed baselines' annotations, and γ of each of so many instructions."""
    columns = ("index", "instruction_difficulty", "std_delta_len", "preference")
    rows: list[tuple[float, float, float]] = []
    difficulty: dict[str, float] = {}
    for _, row in _rows(path, columns):
        values = [_number(path, row[column] or "nan") for column in columns[1:]]
        difficulty.setdefault(row["index"], values[0])
        if not math.isnan(values[2]):
            rows.append((math.tanh(values[1]), values[0], values[2]))
    known = _in_order(path, difficulty, count)
    return Gamed(*np.array(rows).T), known


def _in_order(path: Path, by_index: Mapping[str, float], count: int) -> list[float]:
    if by_index.keys() != {str(n) for n in range(count)}:
        raise BadInput(
            f"{path} has difficulties of {len(by_index)} instructions and not of the {count} from "
            f"0 to {count - 1}; fetch it again from {HUB}."
        )
    return [by_index[str(n)] for n in range(count)]


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file by their first cell."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            lacking = [column for column in columns if column not in names]
            if lacking or not names:
                raise BadInput(
                    f"{path} is not the file of AlpacaEval that its name says: it has no column "
                    f"{lacking[0] if lacking else 'at all'}; fetch it again."
                )
            for row in reader:
                cells = {name: row.get(name) or "" for name in names}
                yield cells[names[0]], cells
    except (OSError, UnicodeError, csv.Error) as error:
        raise BadInput(f"{path} cannot be read as CSV ({error}); fetch it again.") from error


def _number(path: Path, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadInput(f"{path} has {text[:40]!r} where a number should be.") from None
