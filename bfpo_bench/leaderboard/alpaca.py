"""The Alpaca column of a row: its run's win rate, length-controlled where that can be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bfpo_bench.helpfulness.export_annotations import read_annotated
from bfpo_bench.helpfulness.inputs import read_inputs
from bfpo_bench.helpfulness.metrics import measure
from bfpo_bench.leaderboard.columns import ALPACA
from bfpo_bench.leaderboard.protocol import of_alpaca
from bfpo_bench.leaderboard.rows import Cell
from bfpo_bench.leaderboard.runs import Run


def alpaca_cells(run: Run) -> dict[str, Cell]:
    """The cell, without its interval: the raw win rate, marked, where length was not controlled."""
    found = run.results.helpfulness
    if found is None:
        return {}
    value, rate, kind = found.lc_win_rate, str(found.lc_model), "length-controlled win rate"
    more = ""
    if value is None:
        value, rate, kind = found.win_rate, "raw", "raw win rate"
        more = ": length is not controlled"
    if value is None:
        return {}
    marks = (f"{kind} by annotator {found.annotator}{more}", *found.notes)
    protocol = of_alpaca(run.identity, run.results, found, rate)
    return {ALPACA.key: Cell(value, n=found.n, marks=marks, protocol=protocol)}


def with_alpaca_interval(cells: Mapping[str, Cell], runs: Sequence[Run]) -> dict[str, Cell]:
    """The cell with its interval; a mean over seeds has a spread.

    Made again from the annotations where the run keeps what its length control was fitted with,
    else as its results hold it.
    """
    [run, *others] = runs
    found = run.results.helpfulness
    if ALPACA.key not in cells or found is None or others:
        return {}
    upstream = read_inputs(run.path) if run.samples is not None else None
    if upstream is not None:
        found = measure(read_annotated(run.path, found.annotator), upstream)
    ends = found.lc_low, found.lc_high
    if found.lc_win_rate is None:
        ends = found.win_low, found.win_high
    return {ALPACA.key: replace(cells[ALPACA.key], low=ends[0], high=ends[1])}
