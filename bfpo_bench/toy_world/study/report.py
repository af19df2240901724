"""The study's tables and files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bfpo_bench.common.files import atomic_folder
from bfpo_bench.toy_world.study.arms import ARMS, CONTROLS, START, Arm
from bfpo_bench.toy_world.study.means import (
    MEASURES,
    Mean,
    by_seed,
    difference,
    front_of,
    regimes_of,
    summary,
)
from bfpo_bench.toy_world.study.pictures import draw
from bfpo_bench.toy_world.study.runs import FRONT, Cell

MAIN = "bfpo"

COMPARED = ("harmless", "helpful", "score")
"""Of BFPO and every other arm."""

QUESTIONS = (
    ("dpo-buffered", "dpo", "equal batches of both sets, in DPO"),
    ("ipo-buffered", "ipo", "equal batches of both sets, in IPO"),
    ("bfpo", "bfpo-no-buffer", "equal batches of both sets, in BFPO"),
    ("ipo-weighted", "ipo-buffered", "larger targets where safety differs, in buffered IPO"),
    ("bfpo", "ipo-weighted", "BFPO's label where neither response is safe, over IPO's coin"),
    ("bfpo", "bfpo-no-shift", "the shift, α = 0.5 over 0"),
    ("bfpo", "bfpo-shuffled-labels", "safety labels that belong to their pairs"),
)
"""(with, without, what the difference between the two is)."""


def write_report(cells: Sequence[Cell], folder: Path) -> str:
    """Writes ``study.md``, ``study.json`` and the pictures ``study`` and ``fronts``.

    Returns:
        the Markdown.
    """
    text = markdown(cells)
    content = {"measures": MEASURES, "cells": [asdict(cell) for cell in cells]}
    with atomic_folder(folder, force=True) as staged:
        (staged / "study.md").write_text(text, encoding="utf-8")
        (staged / "study.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        draw(cells, staged)
    return text


def markdown(cells: Sequence[Cell]) -> str:
    """Tables of all regimes that have been run, of the fronts and of what the controls say."""
    seeds, names = {cell.seed for cell in cells}, {cell.arm for cell in cells}
    parts = [
        f"Means over {len(seeds)} seeds in percent, ± half of a 95 % interval (Student's t over "
        "seeds). Chosen: how often which learning rate was. Score: (harmless + helpful) / 2 − "
        "broken, by which it was chosen on other prompts. Last three columns: BFPO less the row, "
        "paired by seed, in percentage points; bold where the interval leaves out 0. † is told the "
        "world's truth as a reward or a margin; the others see labelled pairs."
    ]
    controls = [arm for arm in CONTROLS if arm.name in names]
    parts += ["\n".join(f"- {arm.name}: {arm.meaning}" for arm in controls)] if controls else []
    for regime in regimes_of(cells):
        parts += [f"### {regime.capitalize()}", _table(cells, regime)]
    if any(cell.front for cell in cells):
        parts += [f"### Fronts ({FRONT})", _fronts(cells)]
    if controls:
        parts += ["### What makes the difference", _questions(cells)]
    return "\n\n".join(parts) + "\n"


def _table(cells: Sequence[Cell], regime: str) -> str:
    heads = [*("", "chosen", *MEASURES), *(f"BFPO: {name}" for name in COMPARED)]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    best = by_seed(cells, regime, MAIN)
    for name, arm in ((START, None), *((arm.name, arm) for arm in ARMS)):
        found = by_seed(cells, regime, name)
        if not found:
            continue
        shares = [_mean(value) for value in summary(found.values()).values()]
        less = None if name in (MAIN, START) else difference(best, found)
        gains = [_gain(less[one]) if less else "" for one in COMPARED]
        rates = _chosen(cells, regime, arm) if arm else ""
        title = f"{name} †" if arm and arm.truth else name
        lines.append(f"| {' | '.join([title, rates, *shares, *gains])} |")
    return "\n".join(lines)


def _chosen(cells: Sequence[Cell], regime: str, arm: Arm) -> str:
    """How often each setting was chosen, e.g. ``2 × 0.0025, 3 × 0.005 with α = 0.75``."""
    counts = Counter(
        (cell.best.rate, cell.setting.value)
        for cell in cells
        if (cell.regime, cell.arm) == (regime, arm.name)
    )
    said = []
    for (rate, value), count in sorted(counts.items(), key=lambda one: one[0][0]):
        turned = arm.knob is not None and value != arm.knob.values[0]
        said.append(f"{count} × {rate:g}" + (f" with {arm.turned(value)}" if turned else ""))
    return ", ".join(said)


def _fronts(cells: Sequence[Cell]) -> str:
    lines = [f"| | {' | '.join(MEASURES)} |", f"|---|{'---:|' * len(MEASURES)}"]
    for arm in ARMS:
        for value, shares in front_of(cells, arm.name).items():
            means = " | ".join(_mean(one) for one in summary(shares).values())
            lines.append(f"| {arm.name}, {arm.turned(value)} | {means} |")
    return "\n".join(lines)


def _questions(cells: Sequence[Cell]) -> str:
    regimes = regimes_of(cells)
    heads = " | ".join(f"{regime}: harmless | helpful" for regime in regimes)
    lines = [
        f"| what is added | comparison | {heads} |",
        f"|---|---|{'---:|' * (2 * len(regimes))}",
    ]
    for name, other, meaning in QUESTIONS:
        row = []
        for regime in regimes:
            less = difference(by_seed(cells, regime, name), by_seed(cells, regime, other))
            row += [_gain(less[m]) if less else "" for m in ("harmless", "helpful")]
        lines.append(f"| {meaning} | {name} − {other} | {' | '.join(row)} |")
    return "\n".join(lines)


def _mean(value: Mean) -> str:
    return f"{value.value:.1f}" + ("" if value.half is None else f" ± {value.half:.1f}")


def _gain(value: Mean) -> str:
    text = f"{value.value:+.1f}" + ("" if value.half is None else f" ± {value.half:.1f}")
    return f"**{text}**" if value.clear else text
