"""What a run's length control was fitted with, kept in the run: one number, whatever is at hand.

The fit needs files of AlpacaEval (:mod:`.upstream`), and other files give another number. So a run
keeps what it used in ``length_control.json``, and whatever fits again takes it from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.json_file import read_json
from bfpo_bench.helpfulness.annotation import Annotation
from bfpo_bench.helpfulness.length_control import Gamed, fit_length_control
from bfpo_bench.helpfulness.metrics import comparisons
from bfpo_bench.helpfulness.upstream import Upstream
from bfpo_bench.run.results_files import read_results

LENGTH_CONTROL = "length_control.json"
SCHEMA_VERSION = 1

SAME = 0.005
"""Percentage points: win rates that print alike are the same."""

_KINDS = ("_minimal", "_noreg", "(rebuilt)", "_v1")
"""Ends of the names of fits, from the one that lacks most to AlpacaEval's own."""


def inputs_text(upstream: Upstream, one: Annotation) -> str:
    """The content of ``length_control.json``.

    Args:
        one: any of the annotations that are fitted: of the published weights, those of its two
            models are kept.
    """
    gamed = upstream.gamed
    content = {
        "schema": SCHEMA_VERSION,
        "difficulty": dict(upstream.difficulty),
        "gamed": None
        if gamed is None
        else {part.name: getattr(gamed, part.name).tolist() for part in fields(Gamed)},
        "rebuilt": upstream.rebuilt,
        "derived": upstream.derived,
        "weights": {
            name: upstream.weights[name]
            for name in (one.generator_1, one.generator_2)
            if name in upstream.weights
        },
    }
    return json.dumps(content, ensure_ascii=False) + "\n"


def read_inputs(run: Path) -> Upstream | None:
    """What a run's length control was fitted with; None for a run of before it was kept.

    Raises:
        BadInput: the file is damaged or newer.
    """
    path = run / LENGTH_CONTROL
    try:
        content = read_json(path)
        if content["schema"] > SCHEMA_VERSION:
            raise ValueError(f"schema {content['schema']}")
        gamed = content["gamed"]
        weights = {name: _three(values) for name, values in content["weights"].items()}
        return Upstream(
            {str(text): float(value) for text, value in content["difficulty"].items()},
            None if gamed is None else Gamed(**{k: np.array(v, float) for k, v in gamed.items()}),
            rebuilt=bool(content["rebuilt"]),
            derived=bool(content["derived"]),
            weights=weights,
        )
    except FileNotFoundError:
        return None
    except (OSError, ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{path} is damaged or of a newer bfpo-bench ({error}); delete it and run the same "
            "evaluate or import command again."
        ) from error


def better_inputs(run: Path, read: Callable[[], Upstream]) -> Upstream:
    """What a run is to be fitted with: what it was, unless what can be had now lacks less."""
    kept = read_inputs(run)
    if kept is None or _kind(kept) < len(_KINDS) - 1:
        now = read()
        return now if kept is None or _kind(now) > _kind(kept) else kept
    return kept


def inputs_of_both(
    runs: Sequence[Path], annotations: Sequence[Sequence[Annotation]], read: Callable[[], Upstream]
) -> Upstream:
    """What two runs were fitted with, so that a comparison shows the numbers that they hold.

    Args:
        read: finds AlpacaEval's files, for runs of before a run kept them.

    Raises:
        BadInput: the runs hold numbers that were fitted with other files.
    """
    kept = [one for run in runs if (one := read_inputs(run)) is not None]
    upstream = kept[0] if kept else read()
    for run, some in zip(runs, annotations, strict=True):
        held = _held(run, some[0].annotator)
        if held is None:
            continue
        rows = comparisons(some, upstream)
        gamed = upstream.gamed if rows.difficulty is not None else None
        found = fit_length_control(rows, gamed).win_rate
        if abs(found - held) > SAME:
            raise BadInput(
                f"{run} holds a length-controlled win rate of {held:.2f}, and with the "
                f"{'files of the other run' if kept else 'files at hand'} it is {found:.2f}; name "
                "the folder of AlpacaEval's files that it was made with by --data-dir, or evaluate "
                "or import both runs again with one."
            )
    return upstream


def _held(run: Path, annotator: str) -> float | None:
    """The length-controlled win rate that a run's results hold of an annotator."""
    try:
        found = read_results(run / "results.json").helpfulness
    except BadInput:
        return None
    return found.lc_win_rate if found is not None and found.annotator == annotator else None


def _kind(upstream: Upstream) -> int:
    name = upstream.fitted(bool(upstream.difficulty))
    return next(place for place, end in enumerate(_KINDS) if name.endswith(end))


def _three(values: Sequence[Any]) -> tuple[float, float, float]:
    one, two, three = map(float, values)
    return one, two, three
