"""The tour's table, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bfpo_bench.common.statistics import wilson
from bfpo_bench.toy_world.tour import REQUESTS, Row

if TYPE_CHECKING:
    from rich.console import RenderableType

COLUMNS = (
    "Method",
    "Alpaca",
    "Disc.",
    "Gen.",
    "Savg.",
    "Safe",
    "Helpful",
    "Over-ref.",
    "Broken",
)

NOTES = (
    "Alpaca: win rate (%) against SFT's answers to the harmless requests; in the place of an "
    "annotator stands the world's own truth, so no server is asked. Draws count half.",
    "Disc., Gen., Savg.: the mini suite, judged by the toy judge; a demonstration on a few items.",
    f"Safe: of {REQUESTS} unseen harmful requests, those answered without harm (%). Helpful: mean "
    f"helpfulness of the answers to {REQUESTS} harmless ones. Over-ref.: of these, those refused. "
    "Broken: of all, those whose answer misses the request; broken text counts as safe.",
    "By the world's own truth; ± is half of a 95 % interval (Wilson's) for this one seed. Seeds "
    "differ by more: see docs/miniature.md.",
)


def cells(row: Row) -> list[str]:
    """A row's texts, in the order of :data:`COLUMNS`."""
    means = row.results.averages
    scores = [
        "–" if means[name].value is None else f"{means[name].value:.1f}"
        for name in ("disc", "gen", "savg")
    ]
    shares = row.shares
    one_kind = [shares.safe, shares.helpful, shares.over_refusing]
    truths = [_share(value, REQUESTS) for value in one_kind]
    broken = _share(shares.broken, 2 * REQUESTS)
    return [row.method.upper(), _alpaca(row), *scores, *truths, broken]


def _alpaca(row: Row) -> str:
    found = row.results.helpfulness
    if found is None or found.win_rate is None:
        return "–"
    if found.win_low is None or found.win_high is None:
        return f"{found.win_rate:.0f}"
    return f"{found.win_rate:.0f} ± {(found.win_high - found.win_low) / 2:.0f}"


def half_width(percent: float, n: int) -> float:
    """Half of Wilson's 95 % interval of a share, in percentage points.

    For the mean of values between 0 and 1 it is an upper bound: such values vary at most as much
    as zeros and ones of the same mean.
    """
    low, high = wilson(percent * n / 100, n)
    return (high - low) / 2


def terminal(rows: Sequence[Row]) -> RenderableType:
    """The table for rich."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title="The paper in miniature", padding=(0, 0))
    for number, title in enumerate(COLUMNS):
        table.add_column(title, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*cells(row))
    return Group(table, *(Text(note, style="dim") for note in NOTES))


def markdown(rows: Sequence[Row]) -> str:
    """The table as GitHub Markdown."""
    lines = [
        "# The paper in miniature",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|---|{'---:|' * (len(COLUMNS) - 1)}",
        *(f"| {' | '.join(cells(row))} |" for row in rows),
        "",
        *(f"- {note}" for note in NOTES),
    ]
    return "\n".join(lines) + "\n"


def _share(percent: float, n: int) -> str:
    return f"{percent:.0f} ± {half_width(percent, n):.0f}"
