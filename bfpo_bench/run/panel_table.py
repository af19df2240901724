"""Several judges' numbers below each other, for the terminal and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bfpo_bench.run import small_table
from bfpo_bench.run.panel import Member, PairAgreement
from bfpo_bench.run.results import TITLES, Results

if TYPE_CHECKING:
    from rich.table import Table

_OF_VERDICTS = ("gen", "harm", "answ", "savg")
"""Averages that depend on the judge."""


def markdown(results: Results) -> list[str]:
    """The lines of a table of the judges; none where there is one judge."""
    return small_table.markdown(*_rows(results))


def terminal(results: Results) -> list[Table]:
    """The same for rich."""
    return small_table.terminal(*_rows(results), overflow="fold")


def _rows(results: Results) -> tuple[list[str], list[list[str]]]:
    """Judges, their majority and the band between them: titles, then a row each."""
    panel = results.panel
    if panel is None:
        return [], []
    shown = {key: title for key, title in _titles(results).items() if panel.values(key)}
    own = results.corrected.averages if results.corrected else {}
    by = {**panel.members, "majority": Member(results.averages, own)}
    right = [key for key in shown if any(key in one.corrected for one in by.values())]
    rows = [
        [
            name,
            *(str(one.averages[key]) if key in one.averages else "–" for key in shown),
            *(_corrected(one, key) for key in right),
        ]
        for name, one in by.items()
    ]
    bands = [sorted(panel.values(key).values()) for key in shown]
    bands += [
        sorted(one.corrected[key].value for one in panel.members.values() if key in one.corrected)
        for key in right
    ]
    rows.append(["band", *(f"{some[0]:.2f} to {some[-1]:.2f}" if some else "–" for some in bands)])
    titles = ["Judge", *shown.values(), *(f"{shown[key]} corrected" for key in right)]
    return titles, rows if shown else []


def _corrected(one: Member, average: str) -> str:
    found = one.corrected.get(average)
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})" if found else "–"


def _titles(results: Results) -> dict[str, str]:
    return {key: TITLES[key] for key in _OF_VERDICTS if key in results.averages}


def notes(results: Results) -> list[str]:
    """How the judges agree, and how often they leave no majority."""
    if results.panel is None:
        return []
    found = [_agreement(one) for one in results.panel.agreement]
    divided = [
        f"{count} of {results.tasks[task].n} responses to {results.tasks[task].column}"
        for task, count in results.panel.undecided.items()
        if task in results.tasks
    ]
    if divided:
        found.append(
            f"the judges are divided on {', '.join(divided)}, which therefore count as unknown"
        )
    return found


def _agreement(pair: PairAgreement) -> str:
    told = f"{' and '.join(pair.judges)} judge {pair.n} responses"
    if pair.same is None:
        return f"{told} both"
    kappa = "kappa not defined"
    if pair.kappa is not None:
        kappa = f"Cohen's kappa {pair.kappa:z.2f} ({pair.low:z.2f} to {pair.high:z.2f})"
    return f"{told} both, {100 * pair.same:.1f} % of them alike; {kappa}"
