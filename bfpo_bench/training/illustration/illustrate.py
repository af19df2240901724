"""The four-action example, run and written to a folder: picture, curves and summary."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.training.illustration.four_actions import (
    ACTIONS,
    BATCH,
    DESIRED,
    LEARNING_RATE,
    REPEATS,
    SAFE,
    STEPS,
    TAUS,
    Curve,
    learn,
)


def illustrate(
    output: Path,
    taus: Sequence[float] = TAUS,
    seed: int = 0,
    steps: int = STEPS,
    repeats: int = REPEATS,
    progress: Progress | None = None,
) -> list[Curve]:
    """Runs the example and writes ``illustration.{png,svg,csv,json}``.

    Args:
        output: folder for the files; made if it is not there.
        taus: values of τ (β for DPO), each above 0.
        seed: repeat k draws its batches with seed + k.
        steps: updates of each run.
        repeats: runs of each method and τ.
        progress: bars, if wanted.

    Returns:
        One curve per τ and method.

    Raises:
        BadInput: a value out of range, or a folder that cannot be made.
        RunFailed: the files cannot be written.
    """
    taus = sorted(set(taus))
    if not taus or not all(math.isfinite(tau) and tau > 0 for tau in taus):
        raise BadInput(f"tau must be a number above 0, not {', '.join(map(str, taus)) or 'empty'}.")
    for name, value in (("steps", steps), ("repeats", repeats)):
        if value < 1:
            raise BadInput(f"{name} must be at least 1, not {value}.")
    if seed < 0:
        raise BadInput(f"seed must not be negative; it is {seed}.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"the output folder {output} cannot be made: {error.strerror}; name another."
        ) from error
    # Before the work: matplotlib is slow to load, and the first to fail where it is broken.
    from bfpo_bench.training.illustration.figure import draw

    progress = progress or Progress(show=False)
    with progress.stage("illustrate", steps, unit="updates"):
        curves = learn(taus, seed, steps, repeats, progress)
    settings = {"seed": seed, "steps": steps, "repeats": repeats, "taus": taus}
    try:
        draw(curves, output)
        _write_curves(curves, output / "illustration.csv")
        _write_summary(curves, settings, output / "illustration.json")
    except OSError as error:
        raise RunFailed(
            f"the files cannot be written to {output}: {error.strerror}; make room or name another "
            "folder."
        ) from error
    return curves


def _write_curves(curves: Sequence[Curve], path: Path) -> None:
    """One row per method, τ, repeat and record, with the probability of each action."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "tau", "repeat", "step", *ACTIONS])
        for curve in curves:
            for repeat in range(curve.log_policy.shape[1]):
                for step, row in zip(curve.steps, curve.log_policy[:, repeat].exp(), strict=True):
                    values = [f"{value:.6g}" for value in row.tolist()]
                    writer.writerow([curve.method, curve.tau, repeat, step, *values])


def _write_summary(curves: Sequence[Curve], settings: Mapping[str, Any], path: Path) -> None:
    results = [
        {
            "method": curve.method,
            "tau": curve.tau,
            "order": curve.order,
            "orders": curve.orders,
            "closed_form_order": curve.expected_order,
            "probabilities": curve.log_policy[-1].exp().mean(dim=0).tolist(),
            "closed_form": None if curve.optimum is None else curve.optimum.exp().tolist(),
            "total_variation": curve.distance,
        }
        for curve in curves
    ]
    content = {
        **settings,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "safe": dict(zip(ACTIONS, SAFE, strict=True)),
        "desired_order": DESIRED,
        "results": results,
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
