"""``bfpo-bench illustrate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bfpo_bench.cli.command import command_app

if TYPE_CHECKING:
    from bfpo_bench.training.illustration.four_actions import Curve

EXAMPLE = """
Examples:

  bfpo-bench illustrate --output illustration

  bfpo-bench illustrate --output illustration --tau 0.2 --tau 2 --repeats 10
"""


app = command_app()


@app.command(epilog=EXAMPLE)
def illustrate(
    output: Annotated[
        Path, typer.Option(help="Folder for illustration.png, .svg, .csv and .json.")
    ],
    tau: Annotated[
        list[float],
        typer.Option(help="Pull towards the reference (DPO: its beta); can be repeated."),
    ] = [0.1, 0.5, 1.0],  # noqa: B006 (typer reads it, nobody changes it)
    seed: Annotated[int, typer.Option(help="Of the first repeat; the next one adds 1.")] = 0,
    steps: Annotated[int, typer.Option(help="Updates of each run.")] = 1800,
    repeats: Annotated[int, typer.Option(help="Runs of each method and tau.")] = 5,
) -> None:
    """Show on four actions what BFPO, DPO and IPO learn (Section 3.4 of the paper). No model, no
    data, under a minute.
    """
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.training.illustration import figure as example

    curves = example.illustrate(output, tau, seed, steps, repeats, Progress())
    _show(curves, output)


def _show(curves: Sequence[Curve], output: Path) -> None:
    from rich.table import Table

    from bfpo_bench.cli.terminal import screen
    from bfpo_bench.training.illustration.four_actions import DESIRED, TITLES

    table = Table(title=f"Desired order: {DESIRED}", title_style="", title_justify="left")
    table.add_column("τ", justify="right")
    for heading in ("Method", "Learned order", "Runs", "Closed form", "Distance"):
        table.add_column(heading, justify="right" if heading == "Distance" else "left")
    for index, curve in enumerate(curves):
        last_of_tau = index + 1 == len(curves) or curves[index + 1].tau != curve.tau
        distance = curve.distance
        table.add_row(
            f"{curve.tau:g}",
            TITLES[curve.method],
            curve.order + (" ✓" if curve.order == DESIRED else ""),
            f"{curve.orders.count(curve.order)} of {len(curve.orders)}",
            curve.expected_order + (" (limit)" if distance is None else ""),
            "-" if distance is None else f"{distance:.3f}",
            end_section=last_of_tau,
        )
    console = screen(piped_width=120)
    console.print(table)
    console.print(
        "Distance: total variation between the policy learned and the closed form, mean of the "
        "runs.\nDPO has no finite optimum on preferences without noise; its order is the limit's."
    )
    console.print(
        f"Files: {output}/illustration.png, .svg, .csv, .json", soft_wrap=True, markup=False
    )
