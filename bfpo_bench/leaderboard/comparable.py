"""Runs that are to be compared: opened, and what they were measured with that is not the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bfpo_bench.common.errors import BadInput
from bfpo_bench.leaderboard.columns import ALPACA
from bfpo_bench.leaderboard.entry import alpaca_cells
from bfpo_bench.leaderboard.load import Loaded, load_rows
from bfpo_bench.leaderboard.protocol import Protocol, of_also, of_cell, of_mean
from bfpo_bench.leaderboard.runs import Run, told_apart
from bfpo_bench.run.marks import refusals_by, verdicts_by
from bfpo_bench.suites import AVERAGED

_PAIRED = ("items", "win rate")


@dataclass(frozen=True)
class Opened:
    """Models that are to be compared with the first of them.

    Attributes:
        warnings: why they ought not to be.
        remarks: what is not the same in them and need not be.
    """

    paths: tuple[Path, ...]
    models: tuple[Loaded, ...]
    warnings: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Of the models, told apart by their folders."""
        return told_apart([model.entry.name for model in self.models], self.paths)

    @property
    def verdicts(self) -> str | None:
        """Whose verdicts judged tasks count; by model where that is not the same judge for all."""
        said: dict[str, str] = {}
        for name, model in zip(self.names, self.models, strict=True):
            results = model.runs[0].results
            by = [verdicts_by(results.judge)] if results.judge is not None else []
            by += [refusals_by(results.refusal_judge)] if results.refusal_judge is not None else []
            said |= {name: ", ".join(by)} if by else {}
        if len(set(said.values())) == 1:
            return next(iter(said.values()))
        return "; ".join(f"{name}: {by}" for name, by in said.items()) or None


def open_models(paths: Sequence[Path], judge: str | None = None) -> Opened:
    """Opens what is to be compared, a run or the runs of one model at each path.

    Args:
        judge: use this judge's verdicts.

    Raises:
        BadInput: no finished run, one that fails its check, or samples that are not at hand.
    """
    models = tuple(_model(path, judge) for path in paths)
    warnings, remarks = (
        tuple(
            f"{paths[0]} and {path}: {what}"
            for path, other in zip(paths[1:], models[1:], strict=True)
            for what in unlike(models[0], other, said)
        )
        for said in (False, True)
    )
    remarks = tuple(f"{remark}, which need not agree" for remark in remarks)
    return Opened(tuple(paths), models, warnings, remarks)


def unlike(first: Loaded, other: Loaded, said: bool = False) -> list[str]:
    """What two runs were measured with that is not the same, a phrase each; shared tasks only.

    Which items a limit drew is no such thing, nor whether length could be controlled: what is
    compared are the items that both have, and raw win rates.

    Args:
        said: of what need not be the same, instead of what has to.
    """
    a, b = first.runs[0], other.runs[0]
    shared = [name for name in a.results.tasks if name in b.results.tasks]
    helpful = all(ALPACA.key in one.entry.cells for one in (first, other))
    beside = [name for name, one in a.results.also.items() if one.asked and name in b.results.also]
    one, two = (_protocol(run, shared, helpful, beside) for run in (a, b))
    found = one.differences(two, said)
    return [difference.text("and") for difference in found if difference.name not in _PAIRED]


def _protocol(run: Run, tasks: Sequence[str], helpful: bool, also: Sequence[str]) -> Protocol:
    results = run.results
    found = [results.tasks[name] for name in tasks]
    cells = (of_cell(run.identity, results, cell) for cell in found)
    # What is in no average is the same task in whatever suite.
    whole = of_mean(results, cells, {cell.group for cell in found} & set(AVERAGED))
    if helpful:
        whole = sum((cell.protocol for cell in alpaca_cells(run).values()), whole)
    return sum((of_also(run.identity, results, results.also[name]) for name in also), whole)


def _model(path: Path, judge: str | None) -> Loaded:
    found = load_rows([path], judge)
    if found.problems:
        raise BadInput(f"these cannot be compared: {found.problems[0]}")
    if len(found.rows) != 1:
        raise BadInput(
            f"{path} holds runs of {len(found.rows)} models or settings; name one run directory, "
            "or a folder with the runs of one model, or of one training, under several seeds."
        )
    [row] = found.rows
    if row.entry.fault is not None:
        raise BadInput(
            f"{path} failed its consistency check ({row.entry.fault}) and is compared with "
            "nothing; run the same evaluate command again, or with --fresh."
        )
    if any(run.samples is None for run in row.runs):
        raise BadInput(
            f"{path} came without samples.sqlite, and a comparison goes item by item; copy that "
            "file too."
        )
    return row
