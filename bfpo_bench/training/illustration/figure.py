"""The picture of the four-action example: one panel per τ and method, as PNG and SVG.

What an action is can be read without colour: safe ones are drawn solid, unsafe ones broken, the
more helpful of either kind bolder, and every line carries its name. The colours are Okabe and
Ito's, which the usual kinds of colour blindness tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from bfpo_bench.common.figures import INK, drawing, save, spread_out
from bfpo_bench.training.illustration.four_actions import ACTIONS, DESIRED, METHODS, TITLES, Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "linewidth": 2.4, "linestyle": "-"},
    {"color": "#D55E00", "linewidth": 2.4, "linestyle": (0, (4, 1.5))},
    {"color": "#56B4E9", "linewidth": 1.5, "linestyle": "-"},
    {"color": "#E69F00", "linewidth": 1.5, "linestyle": (0, (1.2, 1.2))},
)
_MEANING = (
    "$y_1$ safe, most helpful",
    "$y_2$ unsafe, helpful",
    "$y_3$ safe, less helpful",
    "$y_4$ unsafe, least helpful",
)
_PALE = "#8a8a8a"
# Where probability 1 stands, as a share of the panel's height.
_TOP = 0.94
# Room between names at the end of lines, as a share of the panel's height.
_NAME_HEIGHT = 0.075


def draw(curves: Sequence[Curve], output: Path) -> None:
    """Writes ``illustration.png`` and ``illustration.svg``.

    Args:
        curves: of every method at every τ.
        output: an existing folder.
    """
    with drawing(_PALE, {"mathtext.fontset": "dejavusans"}):
        save(_figure(curves), output, "illustration", dpi=160)


def _figure(curves: Sequence[Curve]) -> Figure:
    taus = sorted({curve.tau for curve in curves})
    by_panel = {(curve.tau, curve.method): curve for curve in curves}
    # In inches: what is above and below the panels does not grow with their number.
    above, below, row = 1.05, 1.0, 2.15
    height = above + below + row * len(taus)
    figure = Figure(figsize=(11.5, height))
    figure.subplots_adjust(
        left=0.085,
        right=0.97,
        top=1 - above / height,
        bottom=below / height,
        wspace=0.2,
        hspace=0.32,
    )
    panels = figure.subplots(len(taus), len(METHODS), sharex=True, sharey="row", squeeze=False)
    for line, tau in zip(panels, taus, strict=True):
        floor = _floor([by_panel[tau, method] for method in METHODS])
        for axes, method in zip(line, METHODS, strict=True):
            axes.set_yscale("log")
            axes.set_ylim(floor, floor ** (1 - 1 / _TOP))
            _panel(axes, by_panel[tau, method])
        line[0].set_ylabel(f"τ = {tau:g}\nprobability", linespacing=1.6)
    for axes, method in zip(panels[0], METHODS, strict=True):
        axes.annotate(
            TITLES[method],
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 29),
            textcoords="offset points",
            fontsize=11,
            weight="bold",
        )
    for axes in panels[-1]:
        axes.set_xlabel("updates")
    figure.text(
        0.085,
        1 - 0.34 / height,
        "Four actions, six preferences: what each loss makes of them",
        fontsize=13.5,
        weight="bold",
    )
    _legend(figure, repeats=curves[0].log_policy.shape[1], height=height)
    return figure


def _panel(axes: Axes, curve: Curve) -> None:
    steps, last = curve.steps, curve.steps[-1]
    probability = curve.log_policy.exp()
    for action, style in enumerate(_LINES):
        values = probability[:, :, action]
        axes.fill_between(
            steps,
            values.min(dim=1).values.numpy(),
            values.max(dim=1).values.numpy(),
            color=style["color"],
            alpha=0.25,
            linewidth=0,
        )
        axes.plot(steps, _mean(curve)[:, action], solid_capstyle="butt", **style)
        best = None if curve.optimum is None else curve.optimum[action].exp().item()
        if best is not None and best > axes.get_ylim()[0]:
            axes.plot(
                [last],
                [best],
                marker="D",
                markersize=4.5,
                markerfacecolor="white",
                markeredgecolor=style["color"],
                markeredgewidth=1.2,
                clip_on=False,
                zorder=5,
            )
    axes.set_xlim(0, last)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=2.5, width=0.6, labelsize=8)
    axes.minorticks_off()
    axes.set_xticks([0, last // 2, last])
    axes.yaxis.set_major_formatter(_as_number)
    _name_lines(axes, curve)
    right = curve.order == DESIRED
    order = curve.order.replace("y", "$y_").replace(" >", "$ >") + "$"
    axes.set_title(
        order + ("  ✓" if right else ""),
        loc="left",
        fontsize=9,
        color=INK if right else "#555555",
        pad=5,
    )


def _name_lines(axes: Axes, curve: Curve) -> None:
    """Writes each action's name at the end of its line, or where the line leaves the panel."""
    floor, _ = axes.get_ylim()
    values = _mean(curve)
    last = curve.steps[-1]
    staying = [action for action in range(4) if values[-1, action] > floor]
    ends = axes.transData.transform([(last, values[-1, action]) for action in staying])
    heights = axes.transAxes.inverted().transform(ends)[:, 1]
    for action, height in zip(staying, spread_out(heights.tolist(), _NAME_HEIGHT), strict=True):
        axes.annotate(
            f"$y_{action + 1}$",
            (1, height),
            xycoords="axes fraction",
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
        )
    for action in set(range(4)) - set(staying):
        leaving = curve.steps[int((values[:, action] < floor).argmax())]
        axes.annotate(
            f"$y_{action + 1}$",
            (leaving, floor),
            xytext=(2, 5),
            textcoords="offset points",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )


def _as_number(value: float, _: float) -> str:
    """1, 0.1 and 0.01 as they are, less as a power of ten."""
    return f"{value:g}" if value > 0.005 else f"$10^{{{round(math.log10(value))}}}$"


def _mean(curve: Curve) -> Any:
    """[records, actions] as a numpy array: the mean probability of the repeats."""
    return curve.log_policy.exp().mean(dim=1).numpy()


def _floor(curves: Sequence[Curve]) -> float:
    """The smallest probability that a row of panels shows.

    DPO has no finite optimum and would flatten all else: it may leave the panel.
    """
    least = min(
        min(curve.optimum.min().exp().item(), curve.log_policy[-1].exp().min().item())
        for curve in curves
        if curve.optimum is not None
    )
    return max(least / 5, 1e-12)


def _legend(figure: Figure, repeats: int, height: float) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **style) for style in _LINES]
    diamond = Line2D(
        [],
        [],
        linestyle="",
        marker="D",
        markersize=4.5,
        markerfacecolor="white",
        markeredgecolor=INK,
        markeredgewidth=1.2,
    )
    figure.legend(
        [*handles, diamond],
        [*_MEANING, "closed form"],
        loc="lower left",
        bbox_to_anchor=(0.078, 0.28 / height),
        ncols=len(ACTIONS) + 1,
        frameon=False,
        handlelength=2.6,
        columnspacing=1.8,
        borderaxespad=0,
    )
    runs = f"Mean of {repeats} runs, shading from least to most" if repeats > 1 else "One run"
    figure.text(
        0.085,
        0.14 / height,
        f"{runs}. Above each panel the order it ends with; ✓ marks the desired one. For DPO, τ is "
        "its β; it has no finite optimum here.",
        fontsize=8,
        color="#555555",
    )
