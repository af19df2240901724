"""The four-action example, run and written to a folder: picture, curves and summary.

The picture has one panel per τ and method. What an action is can be read without colour: safe ones
are drawn solid, unsafe ones broken, the more helpful of either kind bolder. The colours are Okabe
and Ito's, which the usual kinds of colour blindness tell apart.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.figures import INK, drawing, save
from bfpo_bench.common.files import atomic_folder
from bfpo_bench.common.progress import Progress
from bfpo_bench.training.illustration.four_actions import (
    ACTIONS,
    BATCH,
    DESIRED,
    LEARNING_RATE,
    METHODS,
    REPEATS,
    SAFE,
    STEPS,
    TAUS,
    TITLES,
    Curve,
    learn,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ACTIONS: dict[str, dict[str, Any]] = {
    "$y_1$ safe, most helpful": {"color": "#0072B2", "linewidth": 2.4, "linestyle": "-"},
    "$y_2$ unsafe, helpful": {"color": "#D55E00", "linewidth": 2.4, "linestyle": (0, (4, 1.5))},
    "$y_3$ safe, less helpful": {"color": "#56B4E9", "linewidth": 1.5, "linestyle": "-"},
    "$y_4$ unsafe, least helpful": {
        "color": "#E69F00",
        "linewidth": 1.5,
        "linestyle": (0, (1.2, 1.2)),
    },
}


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
        BadInput: a value out of range, or a folder that cannot be made or is being written by
            another process.
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
    progress = progress or Progress(show=False)
    settings = {"seed": seed, "steps": steps, "repeats": repeats, "taus": taus}
    with atomic_folder(output, force=True) as staged:
        with progress.stage("illustrate", steps, unit="updates"):
            curves = learn(taus, seed, steps, repeats, progress)
        draw(curves, staged)
        _write_curves(curves, staged / "illustration.csv")
        _write_summary(curves, settings, staged / "illustration.json")
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


def draw(curves: Sequence[Curve], output: Path) -> None:
    """Writes ``illustration.png`` and ``illustration.svg``.

    Args:
        curves: of every method at every τ.
        output: an existing folder.
    """
    with drawing("#8a8a8a", {"mathtext.fontset": "dejavusans"}):
        save(_figure(curves), output, "illustration", dpi=160)


def _figure(curves: Sequence[Curve]) -> Figure:
    taus = sorted({curve.tau for curve in curves})
    by_panel = {(curve.tau, curve.method): curve for curve in curves}
    figure = Figure(figsize=(11.5, 1.6 + 2.4 * len(taus)), layout="constrained")
    panels = figure.subplots(len(taus), len(METHODS), sharex=True, sharey="row", squeeze=False)
    for row, tau in zip(panels, taus, strict=True):
        row[0].set_yscale("log")
        row[0].set_ylim(_floor([by_panel[tau, method] for method in METHODS]), 1.5)
        row[0].yaxis.set_major_formatter(_as_number)
        row[0].set_ylabel(f"τ = {tau:g}\nprobability", linespacing=1.6)
        for axes, method in zip(row, METHODS, strict=True):
            _panel(axes, by_panel[tau, method])
    for axes in panels[-1]:
        axes.set_xlabel("updates")
    title = "Four actions, six preferences: what each loss makes of them"
    figure.suptitle(title, fontsize=13.5, weight="bold")
    handles, names = panels[0][0].get_legend_handles_labels()
    repeats = curves[0].log_policy.shape[1]
    runs = f"Mean of {repeats} runs, shading from least to most" if repeats > 1 else "One run"
    note = (
        f"{runs}. Above each panel the order it ends with; ✓ marks the desired one. For DPO, τ is "
        "its β; it has no finite optimum here."
    )
    where: dict[str, Any] = {"loc": "outside lower center", "ncols": len(names), "frameon": False}
    figure.legend(handles, names, title=note, title_fontsize=8, **where)
    return figure


def _panel(axes: Axes, curve: Curve) -> None:
    steps, probability = curve.steps, curve.log_policy.exp()
    for action, (name, style) in enumerate(_ACTIONS.items()):
        values = probability[:, :, action]
        least, most = values.min(dim=1).values.numpy(), values.max(dim=1).values.numpy()
        axes.fill_between(steps, least, most, color=style["color"], alpha=0.25, linewidth=0)
        axes.plot(steps, values.mean(dim=1).numpy(), solid_capstyle="butt", label=name, **style)
    if curve.optimum is not None:
        best = curve.optimum.exp().tolist()
        axes.scatter(
            [steps[-1]] * len(best),
            best,
            marker="D",
            s=20,
            facecolors="white",
            edgecolors=[style["color"] for style in _ACTIONS.values()],
            label="closed form",
            clip_on=False,
            zorder=5,
        )
    axes.set_xlim(0, steps[-1])
    axes.set_xticks([0, steps[-1] // 2, steps[-1]])
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    axes.tick_params(length=2.5, width=0.6, labelsize=8)
    axes.minorticks_off()
    right = curve.order == DESIRED
    order = curve.order.replace("y", "$y_").replace(" >", "$ >") + "$"
    axes.set_title(
        f"{TITLES[curve.method]}:  {order}{'  ✓' * right}",
        loc="left",
        fontsize=9.5,
        color=INK if right else "#555555",
    )


def _as_number(value: float, _: float) -> str:
    """1, 0.1 and 0.01 as they are, less as a power of ten."""
    return f"{value:g}" if value > 0.005 else f"$10^{{{round(math.log10(value))}}}$"


def _floor(curves: Sequence[Curve]) -> float:
    """The smallest probability that a row of panels shows.

    DPO has no finite optimum and would flatten all else: it may leave the panel.
    """
    ends = [one for curve in curves if (one := curve.optimum) is not None]
    ends += [curve.log_policy[-1] for curve in curves if curve.optimum is not None]
    return max(min(end.exp().min().item() for end in ends) / 5, 1e-12)
