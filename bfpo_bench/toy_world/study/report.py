"""The study's statistics (means over seeds, paired differences), tables, picture and files."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bfpo_bench.common.files import atomic_folder
from bfpo_bench.toy_world.datasets import REGIMES
from bfpo_bench.toy_world.demo import METHODS
from bfpo_bench.toy_world.evaluate import Shares
from bfpo_bench.toy_world.study.runs import ARMS, CONTROLS, START, Run, chosen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = tuple(field.name for field in fields(Shares))

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


@dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
        value: in percent or percentage points.
        half: half of its 95 % interval (Student's t); None for a single seed.
        n: seeds.
    """

    value: float
    half: float | None
    n: int

    @property
    def clear(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.half is not None and abs(self.value) > self.half


def mean(values: Sequence[float]) -> Mean:
    """Mean and 95 % interval of independent values."""
    n = len(values)
    value = statistics.fmean(values)
    if n < 2:
        return Mean(value, None, n)
    from scipy.special import stdtrit

    quantile = round(float(stdtrit(n - 1, 0.975)), 3)  # as tables have it
    return Mean(value, quantile * statistics.stdev(values) / math.sqrt(n), n)


def by_seed(runs: Sequence[Run], regime: str, arm: str) -> dict[int, Shares]:
    """Test results of an arm in a regime.

    Args:
        runs: those whose settings were chosen.
    """
    return {run.seed: run.test for run in runs if (run.regime, run.arm) == (regime, arm)}


def summary(shares: Mapping[int, Shares]) -> dict[str, Mean]:
    """Every measure's mean over seeds."""
    return {name: mean([getattr(one, name) for one in shares.values()]) for name in MEASURES}


def difference(
    minuend: Mapping[int, Shares], subtrahend: Mapping[int, Shares]
) -> dict[str, Mean] | None:
    """Means of the differences over the seeds that both have; None where there is none."""
    both = sorted(minuend.keys() & subtrahend.keys())
    if not both:
        return None
    return {
        name: mean([getattr(minuend[s], name) - getattr(subtrahend[s], name) for s in both])
        for name in MEASURES
    }


def write_report(runs: Sequence[Run], folder: Path) -> str:
    """Writes ``study.md``, ``study.json``, ``study.png`` and ``study.svg``.

    Args:
        runs: with all settings.

    Returns:
        the Markdown.
    """
    best = chosen(runs)
    text = markdown(best)
    content = json.dumps({**_means(best), "runs": [asdict(run) for run in runs]}, indent=1) + "\n"
    with atomic_folder(folder, force=True) as staged:
        (staged / "study.md").write_text(text, encoding="utf-8")
        (staged / "study.json").write_text(content, encoding="utf-8")
        draw(best, staged)
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
        "| | rates | harmless | answered | helpful | broken | BFPO: harmless | BFPO: helpful |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    best = by_seed(runs, regime, MAIN)
    for arm in (START, *(one.name for one in ARMS)):
        found = by_seed(runs, "" if arm == START else regime, arm)
        if not found:
            continue
        cells = [_mean(value) for value in summary(found).values()]
        less = None if arm in (MAIN, START) else difference(best, found)
        gains = [_gain(less[name]) for name in ("harmless", "helpful")] if less else ["", ""]
        rates = "" if arm == START else _rates(runs, regime, arm)
        lines.append(f"| {arm} | {rates} | {' | '.join([*cells, *gains])} |")
    return "\n".join(lines)


def _questions(runs: Sequence[Run]) -> str:
    regimes = _regimes(runs)
    heads = " | ".join(f"{regime}: harmless | helpful" for regime in regimes)
    lines = [
        f"| what is added | comparison | {heads} |",
        f"|---|---|{'---:|' * (2 * len(regimes))}",
    ]
    for name, other, meaning in QUESTIONS:
        cells = []
        for regime in regimes:
            less = difference(by_seed(runs, regime, name), by_seed(runs, regime, other))
            cells += [_gain(less[m]) for m in ("harmless", "helpful")] if less else ["", ""]
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


@dataclass(frozen=True)
class _Mark:
    """How a measure is drawn; shape and filling tell them apart without colour."""

    color: str
    marker: str
    filled: bool
    lift: float
    title: str


_MARKS = {
    "harmless": _Mark("#D55E00", "o", True, 0.18, "harmless"),
    "helpful": _Mark("#0072B2", "s", False, -0.02, "helpful"),
    "broken": _Mark("#8a8a8a", "x", True, -0.22, "broken"),
}
_ROWS = (START, *(arm.name for arm in ARMS))


def draw(runs: Sequence[Run], folder: Path) -> None:
    """Writes ``study.png`` and ``study.svg``.

    Args:
        runs: those whose settings were chosen.
        folder: an existing one.
    """
    from bfpo_bench.common.figures import drawing, save

    with drawing("#8a8a8a"):
        save(_figure(runs), folder, "study", dpi=140)


def _figure(runs: Sequence[Run]) -> Figure:
    from matplotlib.figure import Figure

    there = {run.regime for run in runs}
    regimes = [regime for regime in REGIMES if regime in there]
    # In inches: what is beside and above the panels does not grow with their number.
    left, right, above, below = 1.75, 0.25, 1.0, 0.55
    width, height = left + right + 3.1 * len(regimes), above + below + 0.42 * len(_ROWS)
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        top=1 - above / height,
        bottom=below / height,
        wspace=0.08,
    )
    panels = figure.subplots(1, len(regimes), sharex=True, sharey=True, squeeze=False)[0]
    for axes, regime in zip(panels, regimes, strict=True):
        _panel(axes, runs, regime)
        axes.set_title(regime, loc="left", fontsize=10.5, weight="bold")
        axes.set_xlabel("percent")
    panels[0].set_yticks(range(len(_ROWS)), _ROWS)
    panels[0].set_ylim(len(_ROWS) - 0.4, -0.6)
    panels[0].set_xlim(-3, 103)
    figure.text(
        left / width,
        1 - 0.34 / height,
        "What every method and control comes to, by the toy world's own truth",
        fontsize=12.5,
        weight="bold",
    )
    handles, titles = panels[0].get_legend_handles_labels()
    titles = [f"{title} (mean, 95 % interval; dots: seeds)" for title in titles[:1]] + titles[1:]
    figure.legend(
        handles,
        titles,
        loc="upper left",
        bbox_to_anchor=(left / width - 0.012, 1 - 0.4 / height),
        ncols=len(_MARKS),
        frameon=False,
    )
    return figure


def _panel(axes: Axes, runs: Sequence[Run], regime: str) -> None:
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    # Between the start model, the methods and the controls.
    for border in (0.5, len(METHODS) + 0.5):
        axes.axhline(border, color="#d0d0d0", linewidth=0.8)
    for row, arm in enumerate(_ROWS):
        found = by_seed(runs, "" if arm == START else regime, arm)
        means = summary(found) if found else {}
        for name, mark in _MARKS.items():
            if name not in means:
                continue
            place = row - mark.lift
            axes.errorbar(
                means[name].value,
                place,
                xerr=means[name].half,
                color=mark.color,
                marker=mark.marker,
                markersize=5.5,
                markerfacecolor=mark.color if mark.filled else "white",
                elinewidth=1.2,
                linestyle="none",
                label=mark.title if row == 0 else None,
                zorder=3,
            )
            seeds = [getattr(shares, name) for shares in found.values()]
            axes.plot(
                seeds,
                [place] * len(seeds),
                color=mark.color,
                marker=".",
                markersize=3,
                linestyle="none",
                alpha=0.6,
                zorder=2,
            )
