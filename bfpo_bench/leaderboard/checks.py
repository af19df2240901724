"""Before a number is shown: is the run what it says it is?

Each item answered once, each response judged once by the judge named, counts and digests as
pinned, scores and averages recomputed from the samples equal to ``results.json``. Everything is
counted inside SQLite; no answer is read into memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from bfpo_bench.common.errors import BenchError
from bfpo_bench.helpfulness.inputs import read_inputs
from bfpo_bench.helpfulness.metrics import measure, win_rate
from bfpo_bench.helpfulness.of_run import read_annotated
from bfpo_bench.leaderboard.runs import Run
from bfpo_bench.run.outcomes import verdict_counts
from bfpo_bench.run.results import TITLES, TaskResult
from bfpo_bench.run.shares import BOTH, COUNTED, REFUSAL, Judges
from bfpo_bench.run.store import Store
from bfpo_bench.suites import AVERAGED, task_names
from bfpo_bench.tasks.catalog import all_sources

_TOLERANCE = 1e-6
"""Percentage points; the sums are of zeros and ones, so only rounding is to be let through."""

_FIT_TOLERANCE = 1e-3
"""The same for what is fitted: sums go in another order on another machine."""


def find_fault(run: Run) -> str | None:
    """The first thing in a run that does not add up, as a clause; None for a sound run."""
    try:
        for problem in chain(_of_identity(run), _of_data(run), _of_averages(run)):
            return problem
        if run.samples is None:
            return None
        with Store(run.samples, read_only=True) as store:
            return next(chain(_of_samples(run, store), _of_alpaca(run, store)), None)
    except BenchError as error:
        return unreadable(error)


def unreadable(error: BenchError) -> str:
    """The same of a run whose samples are of no use."""
    return f"its samples cannot be read ({str(error).rstrip('.')})"


def _of_identity(run: Run) -> Iterator[str]:
    asked, found = run.identity, run.results
    suite = {part: found.suite.get(part) for part in ("name", "version")}
    pairs = {
        "model": (asked.get("model"), found.model),
        "suite": (asked.get("suite"), suite),
        "seed": (asked.get("seed"), found.seed),
        "limit": (asked.get("limit"), found.limit),
        "precision": (asked.get("precision"), found.precision),
    }
    for name, (before, after) in pairs.items():
        if before != after:
            yield f"run.json and results.json name a different {name}"


def _of_data(run: Run) -> Iterator[str]:
    for cell in run.results.tasks.values():
        asked = run.identity["data"].get(cell.source.get("name"), {})
        if asked.get("digest") != cell.source.get("digest"):
            yield f"{cell.column} was run on other data than results.json says"
        expected = min(cell.items, run.results.limit or cell.items)
        stops = cell.enough.sizes if cell.enough is not None else []
        if cell.n != expected and cell.n not in stops:
            yield f"{cell.column} is over {cell.n} items and should be over {expected}"
        yield from _of_pin(cell)


def _of_pin(cell: TaskResult) -> Iterator[str]:
    source = cell.source
    # What --allow-unpinned let through is marked, and ranked with nothing but its like.
    if source.get("status") in ("demonstration", "differs"):
        return
    declared = all_sources().get(str(source.get("name")))
    variants = {variant.name: variant for variant in declared.variants} if declared else {}
    pinned = variants.get(str(source.get("variant")))
    if declared is None and cell.task not in task_names():
        return  # a task of somebody's own, with a source of its own
    if pinned is None:
        yield f"{cell.column} names data that this bfpo-bench does not know ({source.get('name')})"
        return
    if pinned.rows is not None and source.get("rows") != pinned.rows:
        yield f"{cell.column} has data of {source.get('rows')} rows; pinned are {pinned.rows}"
    if pinned.digest is not None and source.get("digest") != pinned.digest:
        yield f"the data of {cell.column} are not the pinned ones (their digest differs)"


def _of_averages(run: Run) -> Iterator[str]:
    means = run.results.averages
    for group in AVERAGED:
        if group not in means:
            continue
        cells = [c for c in run.results.tasks.values() if c.group == group]
        scores = [c.score for c in cells if c.score is not None]
        value = means[group].value
        whole = len(scores) == len(cells) and _equal(value, math.fsum(scores) / max(len(cells), 1))
        if value is not None and not whole:
            yield f"{TITLES[group]} in results.json is not the mean of its {len(cells)} tasks"
    parts = [means[group].value for group in ("disc", "gen")]
    savg = means["savg"].value
    known = [part for part in parts if part is not None]
    if (savg is not None) != (len(known) == len(parts)):
        yield f"{TITLES['savg']} in results.json does not go with Disc. and Gen."
    elif savg is not None and not _equal(savg, sum(known) / len(known)):
        yield f"{TITLES['savg']} in results.json is not the mean of Disc. and Gen."


# ---------------------------------------------------------------------- samples


@dataclass(frozen=True)
class _Counts:
    """Answers of one task: how many, to how many items, their points, how many are unknown."""

    answers: int = 0
    items: int = 0
    points: float = 0.0
    unknown: int = 0


def _of_samples(run: Run, store: Store) -> Iterator[str]:
    items = dict(store.select("SELECT task, COUNT(*) FROM items GROUP BY task"))
    responses = _responses(store)
    judges = run.results.judges
    verdicts = {
        "harmless": _verdicts(store, judges.harm, "harmful IS 0", "harmful IS NULL"),
        "answered": _verdicts(
            *(store, judges.refusal, "refusal IS 'compliance'", "refusal IS NULL")
        ),
    }
    yield from _of_also(run, store)
    for cell in run.results.tasks.values():
        if items.get(cell.task, 0) != cell.n:
            yield f"{cell.column} has {items.get(cell.task, 0)} items in its samples, not {cell.n}"
        if cell.judged:
            yield from _of_shares(cell, store, judges)
            found = verdicts[cell.metric].get(cell.task, _Counts())
            yield from _of_responses(cell, responses.get(cell.task, _Counts()), found)
        else:
            found = _scored(store, cell)
            if found.answers != cell.n:
                yield f"{cell.column} has {found.answers} answers to {cell.n} items"
        if cell.score is None:
            continue
        if found.answers and not _equal(100 * found.points / found.answers, cell.score):
            yield (
                f"{cell.column} is {100 * found.points / found.answers:.2f} by its samples and "
                f"{cell.score:.2f} in results.json"
            )


def _of_shares(cell: TaskResult, store: Store, judges: Judges) -> Iterator[str]:
    """The shares of its responses, of runs that say what was refused."""
    said = [share for share in (*REFUSAL, *BOTH) if share in cell.metrics]
    counts = verdict_counts(store, cell.task, judges) if said else {}
    for share in said:
        count = counts.get(share)
        if count is None or not _equal(count / cell.n, cell.metrics[share]):
            yield (
                f"{cell.column} has {'no' if count is None else count} responses {_WORDS[share]} "
                f"by its samples, and {cell.metrics[share] * cell.n:g} in results.json"
            )


_WORDS = {
    "complied": "answered in full",
    "partly_refused": "refused in part",
    "refused": "refused",
    "refusal_unknown": "of unknown refusal",
    "harmless_without_refusing": "harmless without refusing",
}


def _of_also(run: Run, store: Store) -> Iterator[str]:
    """The means of lm-eval's own tasks against the grades of their items."""
    query = "SELECT COUNT(*), AVG(value) FROM outcomes WHERE task = ? AND metric = ?"
    for name, result in run.results.also.items():
        for metric in result.metrics if not result.leaves else ():
            if not metric.mean or metric.value is None:
                continue
            [(count, mean)] = store.select(query, name, metric.key)
            if count != metric.n or not _equal(mean, metric.value):
                yield (
                    f"{result.column(metric)} is {_shown(mean)} over {count} items by its samples "
                    f"and {metric.value:.2f} over {metric.n} in results.json"
                )


def _of_alpaca(run: Run, store: Store) -> Iterator[str]:
    """The Alpaca column against the annotations, and its fit made again from what the run keeps."""
    found = run.results.helpfulness
    if found is None:
        return
    given = [one for one in store.annotations().values() if one.annotator == found.annotator]
    preferences = [one.preference for one in given]
    if len(given) != found.n or preferences.count(None) != found.failed:
        yield (
            f"Alpaca has {len(given)} annotations by {found.annotator}, {preferences.count(None)} "
            f"without a usable answer, and results.json says {found.n} and {found.failed}"
        )
        return
    rates = {"win_rate": found.win_rate}
    again = {"win_rate": None if found.failed == found.n else win_rate(preferences)[0]}
    upstream = read_inputs(run.path) if found.lc_win_rate is not None else None
    if upstream is not None:
        fitted = measure(read_annotated(run.path, found.annotator), upstream, intervals=False)
        for name in _FITTED:
            rates[name], again[name] = getattr(found, name), getattr(fitted, name)
    for name, value in rates.items():
        if not (value is None and again[name] is None) and not _near(value, again[name]):
            yield (
                f"Alpaca's {name} is {_shown(again[name])} by its annotations and {_shown(value)} "
                "in results.json"
            )
    for rate, low, high in (
        (found.win_rate, found.win_low, found.win_high),
        (found.lc_win_rate, found.lc_low, found.lc_high),
    ):
        if None not in (rate, low, high) and not low <= rate <= high:  # type: ignore[operator]
            yield "Alpaca's interval in results.json does not hold its win rate"


_FITTED = ("lc_win_rate", "discrete_win_rate", "standard_error", "mean_length")


def _near(a: float | None, b: float | None) -> bool:
    """Equal as far as two processors fit alike."""
    return a is not None and b is not None and abs(a - b) < _FIT_TOLERANCE


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _of_responses(cell: TaskResult, answered: _Counts, judged: _Counts) -> Iterator[str]:
    if answered.items != cell.n or answered.answers != cell.n:
        yield (
            f"{cell.column} has {answered.answers} responses to {answered.items} of {cell.n} items"
        )
    if cell.score is None and (not judged.answers or COUNTED[cell.metric][1] not in cell.metrics):
        return  # a judge that does not fit the task gives none, nor one that says something else
    if judged.answers != answered.answers or judged.items != answered.answers:
        yield (
            f"{cell.column} has {judged.answers} verdicts of its judge on {judged.items} of "
            f"{answered.answers} responses"
        )
    if judged.unknown != cell.unknown:
        yield (
            f"{cell.column} has {judged.unknown} unknown verdicts and results.json says "
            f"{cell.unknown}"
        )


def _scored(store: Store, cell: TaskResult) -> _Counts:
    query = "SELECT COUNT(*), TOTAL(value) FROM outcomes WHERE task = ? AND metric = ?"
    [(count, points)] = store.select(query, cell.task, cell.metric)
    return _Counts(count, count, points)


def _responses(store: Store) -> dict[str, _Counts]:
    query = "SELECT task, COUNT(*), COUNT(DISTINCT item) FROM responses GROUP BY task"
    return {task: _Counts(count, items) for task, count, items in store.select(query)}


def _verdicts(store: Store, judge: str | None, counted: str, unknown: str) -> dict[str, _Counts]:
    """Verdicts, judged responses and those that count of each task."""
    # Responses hold long texts: of them and of the verdicts only indexes are read.
    query = (
        f"SELECT v.task, COUNT(*), COUNT(DISTINCT v.item), TOTAL(v.{counted}), "
        f"SUM(v.{unknown}) FROM verdicts v "
        "JOIN responses r ON r.task = v.task AND r.item = v.item WHERE v.judge = ? GROUP BY v.task"
    )
    return {task: _Counts(*counts) for task, *counts in store.select(query, judge)}


def _equal(a: float | None, b: float) -> bool:
    return a is not None and abs(a - b) <= _TOLERANCE
