"""The files of AlpacaEval that length control is made with, as far as they can be had.

| file | what is in it | where from |
|---|---|---|
| ``df_gamed.csv`` | annotations of the gamed baselines, and the difficulties | folder, hub |
| ``instruction_difficulty.csv`` | difficulty of each instruction | folder, hub |
| ``instruction_difficulty_derived.csv`` | the same, recovered from published results | folder |
| ``length_controlled_weights_baseline_gpt4_1106_preview.csv`` | coefficients of the models on \
the leaderboard | folder |
| ``weighted_alpaca_eval_gpt4_turbo_leaderboard.csv`` | their raw win rates and lengths | folder |

The folder is ``alpacaeval/`` in the data folder, the hub's repository ``tatsu-lab/alpaca_eval``.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.foreign import check_is_file
from bfpo_bench.helpfulness.annotation import Annotation
from bfpo_bench.helpfulness.gamed import GAMED_BASELINES, Published, rebuild_gamed
from bfpo_bench.helpfulness.length_control import Comparisons, Floats, Gamed

HUB = "tatsu-lab/alpaca_eval"

TERMS = ("np.tanh(std_delta_len)", "instruction_difficulty", "not_gamed_baseline.astype(float)")
"""Columns of the weights: ψ, φ and θ."""

OFFICIAL_ANNOTATOR = "weighted_alpaca_eval_gpt4_turbo"
REFERENCE = "gpt4_1106_preview"
"""AlpacaEval 2's reference model."""

FOLDER = "alpacaeval"
GAMED = "df_gamed.csv"
DIFFICULTY = "instruction_difficulty.csv"
DERIVED = "instruction_difficulty_derived.csv"
WEIGHTS = f"length_controlled_weights_baseline_{REFERENCE}.csv"
LEADERBOARD = f"{OFFICIAL_ANNOTATOR}_leaderboard.csv"

CALIBRATED = 1.0
"""Weights belong to annotations if they predict their raw win rate to so many points. A fit does so
exactly but for its L1 penalty, which moves it by 100 / (C · n) at most."""


@dataclass(frozen=True)
class Upstream:
    """What could be had.

    Attributes:
        difficulty: γ by instruction; empty where no file has it.
        gamed: the gamed baselines' annotations; None where they can neither be had nor rebuilt.
        rebuilt: whether they are rebuilt from published numbers.
        derived: whether the difficulties are the derived ones.
        weights: (ψ, φ, θ) of models on the leaderboard.
        weights_file: where they were read from, if the user named it: then they must fit.
    """

    difficulty: Mapping[str, float] = field(default_factory=dict)
    gamed: Gamed | None = None
    rebuilt: bool = False
    derived: bool = False
    weights: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    weights_file: Path | None = None

    def fitted(self, with_difficulty: bool) -> str:
        """Which model a fit is, in alpaca_eval's words."""
        if not with_difficulty:
            return "length_controlled_minimal"
        if self.gamed is None:
            return "length_controlled_noreg"
        return "length_controlled_v1" + (" (rebuilt)" if self.rebuilt else "")

    def notes(self, annotator: str, with_difficulty: bool) -> list[str]:
        """What a reader must know of a fit."""
        if not with_difficulty:
            return [
                f"length control without instruction difficulties and gamed baselines ({GAMED} and "
                f"{DIFFICULTY} of {HUB} are not at hand): it can be several points off"
            ]
        found = []
        if self.gamed is None:
            found.append(
                f"length control without gamed baselines ({GAMED} of {HUB} is not at hand): it can "
                "be several points off"
            )
        elif self.rebuilt:
            found.append(
                f"length control with gamed baselines rebuilt from published numbers ({GAMED} of "
                f"{HUB} is not at hand)"
            )
        if self.derived:
            found.append(
                f"instruction difficulties recovered from published results ({DIFFICULTY} of {HUB} "
                "is not at hand)"
            )
        if annotator != OFFICIAL_ANNOTATOR:
            found.append(
                f"difficulties and gamed baselines of length control are {OFFICIAL_ANNOTATOR}'s, "
                "as upstream uses them for every annotator"
            )
        return found

    def published(
        self, one: Annotation, rows: Comparisons, win_rate: float
    ) -> tuple[float | None, list[str]]:
        """The length-controlled win rate in percent by a model's published weights.

        Args:
            one: any of its annotations.
            rows: all of them.
            win_rate: raw, in percent.

        Returns:
            None and a note where there are weights that are of other annotations.

        Raises:
            BadInput: the user named the weights, and they are not of these annotations.
        """
        if self.weights_file is None and one.annotator != OFFICIAL_ANNOTATOR:
            return None, []
        problem = self._unfit(one, rows, win_rate)
        if problem is None:
            assert rows.difficulty is not None
            weights = Published(*self.weights[one.generator_2], win_rate, math.nan)
            return weights.controlled(rows.difficulty), []
        if self.weights_file is not None:
            raise BadInput(problem)
        known = one.generator_2 in self.weights and rows.difficulty is not None
        return None, [problem.rstrip(".")] if known else []

    def _unfit(self, one: Annotation, rows: Comparisons, win_rate: float) -> str | None:
        """Why weights cannot be used for some annotations."""
        where = self.weights_file or WEIGHTS
        model = one.generator_2
        if any(self.weights.get(one.generator_1, (0.0,))):
            return (
                f"the weights in {where} are not relative to {one.generator_1}, which these "
                f"annotations compare with; use those of its baseline_{one.generator_1}.csv."
            )
        if model not in self.weights:
            return f"{where} has no weights of {model}; leave --weights out to fit them here."
        if rows.difficulty is None:
            return f"the weights in {where} need the instruction difficulties ({DIFFICULTY})."
        weights = Published(*self.weights[model], win_rate, math.nan)
        lengths = np.tanh(rows.length_difference / rows.length_difference.std(ddof=1))
        usable = ~np.isnan(rows.preference)
        predicted = float(100 * weights.chances(lengths, rows.difficulty)[usable].mean())
        if abs(predicted - win_rate) <= CALIBRATED:
            return None
        return (
            f"the weights of {model} in {where} predict a win rate of {predicted:.2f} %, and "
            f"{one.annotator} annotated {win_rate:.2f} %: they are of another annotator or of "
            "other outputs."
        )


def read_upstream(
    data_dir: Path | None, instructions: Sequence[str], weights: Path | None = None
) -> Upstream:
    """Looks for the files, in the data folder first, then on the hub.

    Args:
        data_dir: folder that has ``alpacaeval/``.
        instructions: AlpacaEval's 805, in their order.
        weights: the file of published weights to use.

    Raises:
        BadInput: a file is there and is not what it should be.
    """
    folder = None if data_dir is None else data_dir / FOLDER
    gamed = _find(folder, GAMED, hub=True)
    table = _find(folder, WEIGHTS) if weights is None else weights
    known = read_weights(table) if table is not None else {}
    if gamed is not None:
        rows, values = read_gamed(gamed, len(instructions))
        difficulty = dict(zip(instructions, values, strict=True))
        return Upstream(difficulty, rows, weights=known, weights_file=weights)
    file = _find(folder, DIFFICULTY, hub=True) or _find(folder, DERIVED)
    if file is None:
        return Upstream(weights=known, weights_file=weights)
    values = read_difficulty(file, len(instructions))
    rebuilt = _rebuilt(folder, np.array(values))
    return Upstream(
        dict(zip(instructions, values, strict=True)),
        rebuilt,
        rebuilt=rebuilt is not None,
        derived=file.name == DERIVED,
        weights=known,
        weights_file=weights,
    )


def _find(folder: Path | None, name: str, hub: bool = False) -> Path | None:
    if folder is not None and (folder / name).is_file():
        return folder / name
    return _from_hub(name) if hub else None


def _from_hub(name: str) -> Path | None:
    """A file of AlpacaEval's data set; None where the hub cannot be had."""
    import datasets
    from huggingface_hub import hf_hub_download

    from bfpo_bench.data.hub import cache_only_without_network

    try:
        with cache_only_without_network():
            offline = bool(datasets.config.HF_HUB_OFFLINE)
            path = hf_hub_download(HUB, name, repo_type="dataset", local_files_only=offline)
    except Exception:  # whatever keeps a file from coming, the fit does without and says so
        return None
    return Path(path)


def _rebuilt(folder: Path | None, difficulty: Floats) -> Gamed | None:
    weights, leaderboard = _find(folder, WEIGHTS), _find(folder, LEADERBOARD)
    if weights is None or leaderboard is None:
        return None
    known, raw = read_weights(weights), read_leaderboard(leaderboard)
    if not (set(GAMED_BASELINES) <= known.keys() & raw.keys() and REFERENCE in raw):
        return None
    verbose, concise = (Published(*known[name], *raw[name]) for name in GAMED_BASELINES)
    try:
        return rebuild_gamed((verbose, concise), raw[REFERENCE][1], difficulty)
    except ValueError as error:
        raise BadInput(f"{weights} and {leaderboard} do not go together: {error}.") from error


# -------------- readers; a file that is not what its name says is a BadInput


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
        check_is_file(path)
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
