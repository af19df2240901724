"""The study's tables and files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bfpo_bench.toy_world.preferences import REGIMES
from bfpo_bench.toy_world.study.arms import ARMS, CONTROLS
from bfpo_bench.toy_world.study.run import START, Run, chosen
from bfpo_bench.toy_world.study.statistics import MEASURES, Mean, by_seed, difference, summary

MAIN = "bfpo"

QUESTIONS = (
    ("dpo-buffered", "dpo", "equal batches of both sets, in DPO"),
    ("ipo-buffered", "ipo", "equal batches of both sets, in IPO"),
    ("bfpo", "bfpo-no-buffer", "equal batches of both sets, in BFPO"),
    ("ipo-weighted", "ipo-buffered", "larger targets where safety differs, in buffered IPO"),
    ("bfpo", "ipo-weighted", "BFPO's label where neither response is safe, over IPO's coin"),
    ("bfpo", "bfpo-no-shift", "the shift, α = 0.5 over 0"),
    ("bfpo", "bfpo-alpha-0.25", "α = 0.5 over 0.25"),
    ("bfpo", "bfpo-alpha-0.75", "α = 0.5 over 0.75"),
    ("bfpo", "bfpo-shuffled-labels", "safety labels that belong to their pairs"),
)
"""(with, without, what the difference between the two is)."""


def write_report(runs: Sequence[Run], folder: Path) -> str:
    """Writes ``study.md``, ``study.json``, ``study.png`` and ``study.svg``.

    Args:
        runs: with all settings.

    Returns:
        the Markdown.
    """
    from bfpo_bench.toy_world.study.figure import draw

    best = chosen(runs)
    text = markdown(best)
    (folder / "study.md").write_text(text, encoding="utf-8")
    content = json.dumps({**_means(best), "runs": [asdict(run) for run in runs]}, indent=1) + "\n"
    (folder / "study.json").write_text(content, encoding="utf-8")
    draw(best, folder)
    return text


def markdown(runs: Sequence[Run]) -> str:
    """Tables of all regimes that have been run, and of what the controls say.

    Args:
        runs: those whose settings were chosen.
    """
    seeds = {run.seed for run in runs}
    parts = [
        f"Means over {len(seeds)} seeds in percent, ± half of a 95 % interval (Student's t over "
        "seeds). Rates: how often which learning rate was chosen. Last two columns: BFPO less the "
        "row, paired by seed, in percentage points; bold where the interval leaves out 0."
    ]
    parts.append("\n".join(f"- {arm.name}: {arm.meaning}" for arm in CONTROLS))
    for regime in _regimes(runs):
        parts += [f"### {regime.capitalize()}", _table(runs, regime)]
    parts += ["### What makes the difference", _questions(runs)]
    return "\n\n".join(parts) + "\n"


def _table(runs: Sequence[Run], regime: str) -> str:
    lines = [
        "| | rates | safe | helpful | over-refusing | broken | BFPO: safe | BFPO: helpful |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    best = by_seed(runs, regime, MAIN)
    for arm in (START, *(one.name for one in ARMS)):
        found = by_seed(runs, "" if arm == START else regime, arm)
        if not found:
            continue
        cells = [_mean(value) for value in summary(found).values()]
        less = None if arm in (MAIN, START) else difference(best, found)
        gains = [_gain(less[name]) for name in ("safe", "helpful")] if less else ["", ""]
        rates = "" if arm == START else _rates(runs, regime, arm)
        lines.append(f"| {arm} | {rates} | {' | '.join([*cells, *gains])} |")
    return "\n".join(lines)


def _questions(runs: Sequence[Run]) -> str:
    regimes = _regimes(runs)
    heads = " | ".join(f"{regime}: safe | helpful" for regime in regimes)
    lines = [
        f"| what is added | comparison | {heads} |",
        f"|---|---|{'---:|' * (2 * len(regimes))}",
    ]
    for name, other, meaning in QUESTIONS:
        cells = []
        for regime in regimes:
            less = difference(by_seed(runs, regime, name), by_seed(runs, regime, other))
            cells += [_gain(less[m]) for m in ("safe", "helpful")] if less else ["", ""]
        lines.append(f"| {meaning} | {name} − {other} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _regimes(runs: Sequence[Run]) -> list[str]:
    there = {run.regime for run in runs}
    return [regime for regime in REGIMES if regime in there]


def _rates(runs: Sequence[Run], regime: str, arm: str) -> str:
    """How often each setting was chosen, e.g. ``2 × 0.0025, 3 × 0.005``."""
    counts = Counter(run.setting for run in runs if (run.regime, run.arm) == (regime, arm))
    return ", ".join(f"{count} × {setting:g}" for setting, count in sorted(counts.items()))


def _mean(value: Mean) -> str:
    return f"{value.value:.1f}" + ("" if value.half is None else f" ± {value.half:.1f}")


def _gain(value: Mean) -> str:
    text = f"{value.value:+.1f}" + ("" if value.half is None else f" ± {value.half:.1f}")
    return f"**{text}**" if value.clear else text


def _means(runs: Sequence[Run]) -> Mapping[str, Any]:
    means = {}
    for regime in _regimes(runs):
        best = by_seed(runs, regime, MAIN)
        means[regime] = {
            arm.name: {
                "shares": {name: asdict(value) for name, value in summary(found).items()},
                "bfpo_less_this": {
                    name: asdict(value) for name, value in (difference(best, found) or {}).items()
                },
            }
            for arm in ARMS
            if (found := by_seed(runs, regime, arm.name))
        }
    return {"measures": MEASURES, "means": means}
