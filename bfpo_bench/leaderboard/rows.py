"""A row of the leaderboard: measured here, or published in a paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bfpo_bench.leaderboard.columns import Column
from bfpo_bench.leaderboard.protocol import NOTHING, Protocol


@dataclass(frozen=True)
class Cell:
    """One number.

    Attributes:
        value: percent (Alpaca: win rate in percent).
        low, high: 95 % interval in percent; None where not asked for or not known.
        n: items; None for a published number.
        marks: sentences a reader must know of this number.
        spread: sample standard deviation over several runs in percentage points; None for one run.
        protocol: what the number was measured with; only numbers of protocols that agree are
            ranked against each other.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    marks: tuple[str, ...] = ()
    spread: float | None = None
    protocol: Protocol = NOTHING


@dataclass(frozen=True)
class Entry:
    """One row.

    Attributes:
        name: unique in a table. Untrusted text where it was measured.
        kind: ``"measured"`` from a run directory, or ``"published"``.
        source: e.g. ``"Table 7 of arXiv 2408.15313"``, or the run directory's path.
        cells: by column key; a missing cell is absent, never 0.
        marks: sentences a reader must know of the row.
        run: run directory; of several (seeds) the first. None for a published row.
        runs: every run directory of the row.
        fault: why the run failed its consistency check; such a row is named and not ranked.
        extra: columns of tasks that the paper does not have (a suite of one's own).
        judge: name of the judge whose verdicts Gen. counts; None without judged tasks.
    """

    name: str
    kind: Literal["measured", "published"]
    source: str
    cells: Mapping[str, Cell]
    marks: tuple[str, ...] = ()
    run: Path | None = None
    runs: tuple[Path, ...] = ()
    fault: str | None = None
    extra: tuple[Column, ...] = ()
    judge: str | None = None
