"""Are two models different? Paired, item by item, on the items that both have answered.

Differences are of the other model minus the first, each with the interval and p-value of one test
(:mod:`bfpo_bench.leaderboard.stats.paired`): McNemar's exact one where items come singly and are
right or wrong, and elsewhere a paired bootstrap (:mod:`bfpo_bench.common.statistics`), in which an
item, or a group of items, takes the answers of both models along; averages are resampled within
their tasks. p-values are given as they are and corrected by Holm (1979): the averages of all pairs
together, and the tasks of all pairs together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.statistics import (
    Floats,
    Tally,
    bootstrap_weights,
    draw_tasks,
    mean_of,
)
from bfpo_bench.common.text import valid_text
from bfpo_bench.helpfulness.annotation import Annotation
from bfpo_bench.helpfulness.length_control import (
    FOLDS,
    REPLICATES,
    bootstrap_length_control,
    fit_length_control,
)
from bfpo_bench.helpfulness.metrics import comparisons, win_draws, win_tally
from bfpo_bench.helpfulness.upstream import Upstream
from bfpo_bench.leaderboard.columns import ALPACA, COLUMN_OF_TASK
from bfpo_bench.leaderboard.load import Loaded, alpaca_cells, load_rows
from bfpo_bench.leaderboard.protocol import Protocol, of_also, of_cell, of_mean
from bfpo_bench.leaderboard.runs import Run
from bfpo_bench.leaderboard.stats.also import also_differences
from bfpo_bench.leaderboard.stats.items import paired_tallies
from bfpo_bench.leaderboard.stats.paired import Difference, Pair, difference, holm, settled
from bfpo_bench.leaderboard.stats.verdicts import GROUP as VERDICT
from bfpo_bench.leaderboard.stats.verdicts import verdict_differences
from bfpo_bench.run.marks import refusals_by, verdicts_by
from bfpo_bench.run.results import TITLES, TaskResult
from bfpo_bench.suites import AVERAGED

if TYPE_CHECKING:
    from pandas import DataFrame

MARGIN = 1.0
"""So many percentage points count as alike, unless it is said otherwise."""

_FAMILY = {"average": "average", "also": "also", VERDICT: VERDICT}
_PAIRED = ("items", "win rate")
_WIN_RATE = "Alpaca, win rate"
"""The raw one: length control belongs to a model's outputs as a whole and cannot be paired."""


@dataclass(frozen=True)
class Comparison:
    """Models against the first one.

    Attributes:
        warnings: why the runs ought not to be compared; empty unless that was forced.
        remarks: what is not the same in them and need not be.
        verdicts: whose verdicts judged tasks count, in words; None without such tasks.
    """

    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    verdicts: str | None = None

    def to_frame(self) -> DataFrame:
        """One row per pair and column, as a pandas frame.

        Columns: first, other (names, not to be trusted), first_score, other_score (percent), the
        rest of :class:`bfpo_bench.leaderboard.stats.paired.Difference`, and warnings.
        """
        import pandas

        rows = [
            {
                "first": pair.first,
                "other": pair.other,
                "first_score": d.first,
                "other_score": d.other,
                **{
                    name: value
                    for name, value in asdict(d).items()
                    if name not in ("first", "other")
                },
                "warnings": "; ".join(self.warnings),
            }
            for pair in self.pairs
            for d in pair.differences
        ]
        return pandas.DataFrame(valid_text(rows)).astype({"n": "Int64"})


def compare_runs(
    paths: Sequence[Path],
    *,
    force: bool = False,
    margin: float = MARGIN,
    judge: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Compares runs with the first one.

    Args:
        paths: run directories, or folders with the runs of one model, or of one training, under
            several seeds, whose values count by their mean.
        force: compare also what was measured differently.
        margin: so many percentage points count as alike.
        judge: use this judge's verdicts.
        seed: of the bootstrap.

    Raises:
        BadInput: fewer than two, no finished run, one that fails its check, runs measured
            differently (unless forced), nothing in common, or samples that are not at hand.
    """
    if len(paths) < 2:
        raise BadInput("a comparison needs two runs at least; name another one.")
    if not 0 < margin < 100:
        raise BadInput(f"--margin is in percentage points, above 0 and below 100, not {margin:g}.")
    models = [_model(path, judge) for path in paths]
    warnings, remarks = (
        [
            f"{paths[0]} and {path}: {what}"
            for path, other in zip(paths[1:], models[1:], strict=True)
            for what in unlike(models[0], other, said)
        ]
        for said in (False, True)
    )
    remarks = [f"{remark}, which need not agree" for remark in remarks]
    if warnings and not force:
        raise BadInput(
            f"these runs were not measured alike ({'; '.join(warnings)}); compare runs that were, "
            "or use --force to do it all the same."
        )
    names = _names(models, paths)
    beside = [_beside(models[0], other, seed) for other in models[1:]]
    drafts = [
        [*_differences(models[0], other, seed, (paths[0], path), bool(also)), *also]
        for other, path, (also, _) in zip(models[1:], paths[1:], beside, strict=True)
    ]
    remarks += dict.fromkeys(remark for _, said in beside for remark in said)
    for path, other, draft in zip(paths[1:], models[1:], drafts, strict=True):
        remarks += [f"{paths[0]} and {path}: {what}" for what in _left_out(models[0], other, draft)]
    pairs = tuple(
        Pair(names[0], name, found, margin)
        for name, found in zip(names[1:], _corrected(drafts, margin), strict=True)
    )
    judged = any(
        d.group in ("gen", "harm", "answ", "apart", VERDICT) for draft in drafts for d in draft
    )
    verdicts = _verdicts(names, models) if judged else None
    return Comparison(pairs, tuple(warnings), tuple(remarks), verdicts)


def compare_annotations(
    first: Sequence[Annotation],
    second: Sequence[Annotation],
    upstream: Upstream,
    seed: int = 0,
) -> Comparison:
    """Compares raw and length-controlled win rates by one annotator on the same instructions.

    Both are resampled, and refitted, with the same weights.

    Args:
        first, second: all annotations of each model.
        upstream: what their length control is fitted with.
        seed: of the bootstrap.

    Raises:
        BadInput: other instructions, another annotator or reference, or too few usable answers.
    """
    one, two = first[0], second[0]
    for what, this, that in (
        ("annotated by", one.annotator, two.annotator),
        ("compared with", one.generator_1, two.generator_1),
    ):
        if this != that:
            raise BadInput(
                f"{one.generator_2} was {what} {this} and {two.generator_2} {what} {that}; only "
                "win rates of one annotator and reference can be compared."
            )
    by_text = {a.instruction: a for a in second}
    if by_text.keys() != {a.instruction for a in first}:
        raise BadInput(
            f"{one.generator_2} and {two.generator_2} were annotated on different instructions; "
            "annotate both on the same ones."
        )
    pairs = [
        (a, by_text[a.instruction])
        for a in first
        if a.preference is not None and by_text[a.instruction].preference is not None
    ]
    if len(pairs) < 2 * FOLDS:
        raise BadInput(
            f"{one.generator_2} and {two.generator_2} have {len(pairs)} instructions with usable "
            f"annotations in common; {2 * FOLDS} are needed."
        )
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    tally = win_tally([[a.preference for a in side] for side in sides])
    raw = difference(
        _WIN_RATE, ALPACA.group, 100 * tally.means, win_draws(tally, seed), tally, seed
    )
    weights = bootstrap_weights(len(pairs), REPLICATES, seed)
    rates, drawn = zip(*(_length_controlled(s, upstream, weights) for s in sides), strict=True)
    controlled = difference(
        "Alpaca, length-controlled", ALPACA.group, np.array(rates), np.stack(drawn, axis=1)
    )
    with_difficulty = comparisons(sides[0], upstream).difficulty is not None
    left_out = len(first) - len(pairs)
    remarks = [f"win rates by annotator {one.annotator}"]
    remarks += [f"{left_out} instructions without a usable answer left out"] if left_out else []
    remarks += upstream.notes(one.annotator, with_difficulty)
    [drafts] = _corrected([[raw, controlled]], MARGIN)
    return Comparison((Pair(one.generator_2, two.generator_2, drafts, MARGIN),), (), tuple(remarks))


def _length_controlled(
    annotations: Sequence[Annotation], upstream: Upstream, weights: Floats
) -> tuple[float, Floats]:
    """The rate in percent, and what resampling makes of it."""
    rows = comparisons(annotations, upstream)
    gamed = upstream.gamed if rows.difficulty is not None else None
    fit = fit_length_control(rows, gamed)
    return fit.win_rate, bootstrap_length_control(rows, gamed, fit, weights)


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


# ---------------------------------------------------------------------- details


def _corrected(
    drafts: Sequence[Sequence[Difference]], margin: float
) -> list[tuple[Difference, ...]]:
    """The differences of each pair with the verdict that follows from all p-values."""
    corrected: dict[int, float] = {}
    # The averages are what a paper claims, the tasks say where it comes from, the verdicts that
    # are no task's score what else the judges have said, and lm-eval's own what else has changed:
    # four families, so that no p depends on what was looked at besides.
    for name in ("average", "tasks", VERDICT, "also"):
        family = [d for draft in drafts for d in draft if _FAMILY.get(d.group, "tasks") == name]
        values = holm([d.p for d in family])
        corrected |= {id(d): value for d, value in zip(family, values, strict=True)}
    return [tuple(settled(d, corrected[id(d)], margin) for d in draft) for draft in drafts]


def _verdicts(names: Sequence[str], models: Sequence[Loaded]) -> str | None:
    """Whose verdicts judged tasks count; by model where that is not the same judge for all."""
    said: dict[str, str] = {}
    for name, model in zip(names, models, strict=True):
        results = model.runs[0].results
        by = [verdicts_by(results.judge)] if results.judge is not None else []
        by += [refusals_by(results.refusal_judge)] if results.refusal_judge is not None else []
        said |= {name: ", ".join(by)} if by else {}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{name}: {by}" for name, by in said.items()) or None


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


def _names(models: Sequence[Loaded], paths: Sequence[Path]) -> list[str]:
    names = [model.entry.name for model in models]
    return [
        name if names.count(name) == 1 else f"{name} ({path.name})"
        for name, path in zip(names, paths, strict=True)
    ]


def _beside(first: Loaded, other: Loaded, seed: int) -> tuple[list[Difference], list[str]]:
    """What is paired besides the suite's averages and scores, and what must be said of it."""
    found: list[Difference] = []
    remarks: list[str] = []
    for part in (verdict_differences, also_differences):
        some, said = part(first, other, seed)
        found += some
        remarks += said
    return found, remarks


def _differences(
    first: Loaded, other: Loaded, seed: int, paths: tuple[Path, Path], beside: bool
) -> list[Difference]:
    """Of the suite's averages and tasks.

    Args:
        beside: whether there is something else to compare where they have nothing in common.
    """
    shared = [
        name
        for name in first.runs[0].results.tasks
        if all(_has_number(run, name) for run in (*first.runs, *other.runs))
    ]
    tallies = paired_tallies(first, other, shared)
    if not tallies and not beside:
        raise BadInput(
            f"{paths[0]} and {paths[1]} have no answered item in common; evaluate them on the same "
            "tasks, and with the same --limit and --seed if there is a limit."
        )
    drawn = draw_tasks(tallies, seed)
    parts = {group: _whole(group, first, other, tallies) for group in AVERAGED}
    found = []
    means: dict[str, tuple[Floats, Floats, Tally | None]] = {}
    for key, names in parts.items():
        if names:
            scores = np.mean([100 * tallies[name].means for name in names], axis=0)
            # An average of one task is that task.
            only = tallies[names[0]] if len(names) == 1 else None
            means[key] = scores, mean_of([drawn[name] for name in names]), only
    if {"disc", "gen"} <= means.keys():
        both = [means["disc"], means["gen"]]
        scores = np.mean([value for value, _, _ in both], axis=0)
        means["savg"] = scores, mean_of([draws for _, draws, _ in both]), None
    for mean, title in TITLES.items():
        if mean in means:
            found.append(difference(title, "average", *means[mean], seed))
    for name, tally in tallies.items():
        title, group = _WIN_RATE, str(ALPACA.group)
        if name in shared:
            cell = first.runs[0].results.tasks[name]
            title, group = _title(cell), cell.group
        found.append(difference(title, group, 100 * tally.means, drawn[name], tally, seed))
    return found


def _has_number(run: Run, task: str) -> bool:
    """Whether the run has done the task, and its table has a number there."""
    cell = run.results.tasks.get(task)
    return cell is not None and cell.score is not None


def _left_out(first: Loaded, other: Loaded, found: Sequence[Difference]) -> list[str]:
    """What one run's table has and the comparison has not, lest they seem to contradict.

    The tasks of which one run has more items than both have, and those without a number.
    """
    common = {one.column: one.n for one in found if one.n is not None}
    some, none = [], []
    for name, cell in first.runs[0].results.tasks.items():
        two, title = other.runs[0].results.tasks.get(name), _title(cell)
        if two is not None and title not in common:
            none.append(title)
        elif two is not None and max(cell.n, two.n) > (common[title] or 0):
            some.append(f"{title} {common[title]} of {cell.n} and {two.n}")
    return [
        *([f"compared are the items that both have ({', '.join(some)})"] if some else []),
        *([f"no item of {', '.join(none)} has a number in both"] if none else []),
    ]


def _title(cell: TaskResult) -> str:
    column = COLUMN_OF_TASK.get(cell.task)
    return column.title if column else cell.column


def _whole(group: str, first: Loaded, other: Loaded, tallies: Mapping[str, Tally]) -> list[str]:
    """The tasks of an average, if both runs have it whole."""
    if not all(group in model.entry.cells for model in (first, other)):
        return []
    sides = [
        {name for name, cell in model.runs[0].results.tasks.items() if cell.group == group}
        for model in (first, other)
    ]
    if sides[0] != sides[1] or not sides[0] <= tallies.keys():
        return []
    return [name for name in tallies if name in sides[0]]
