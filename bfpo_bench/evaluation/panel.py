"""Several judges of a run: asked one after the other, their majority, and what each one finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import combinations
from operator import getitem
from pathlib import Path
from typing import Any

from bfpo_bench import __version__
from bfpo_bench.common.errors import BenchError
from bfpo_bench.common.progress import Progress
from bfpo_bench.evaluation import stages
from bfpo_bench.evaluation.bench import Bench
from bfpo_bench.evaluation.correct import Correction
from bfpo_bench.evaluation.verdicts import Opinion, with_verdicts
from bfpo_bench.judges import Verdict
from bfpo_bench.judges.chosen import ChosenJudge
from bfpo_bench.judges.majority import vote as most
from bfpo_bench.judges.vocabulary import VOCABULARIES
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.marks import VERDICT_MARKS
from bfpo_bench.run.panel import Member, PairAgreement, Panel
from bfpo_bench.run.renewed import renewed
from bfpo_bench.run.results import Results, TaskResult
from bfpo_bench.run.results_files import results_file, results_files
from bfpo_bench.run.session import Session
from bfpo_bench.run.shares import COUNTED
from bfpo_bench.run.store import ResponseRecord, Store, VerdictRecord, answer_key
from bfpo_bench.suites import PromptKind, prompt_kind, task_names
from bfpo_bench.tasks.requests import Task

_AT_A_TIME = 1000
"""Verdicts that are put into the store together."""


@dataclass(frozen=True)
class Given:
    """A judge whose verdicts are there.

    Attributes:
        name: under which they are stored.
        identity: with that name.
        mixed: what must be said of how they came about.
    """

    chosen: ChosenJudge
    name: str
    identity: dict[str, Any]
    mixed: list[str]

    def opinion(self, kind: PromptKind) -> Opinion:
        """On responses to prompts of a kind."""
        return Opinion.of(self.chosen, self.name, kind)


def judge_tasks(
    judges: Bench,
    tasks: Sequence[Task],
    identity: Mapping[str, Any],
    store: Store,
    session: Session,
    progress: Progress,
    correction: Correction | None = None,
) -> None:
    """Has the judges of an evaluation give the verdicts that are missing, and counts votes.

    Args:
        identity: of the run; the verdicts are kept under the judges' parts of it.
        correction: by labels, which the judges of harm are asked about where they are of others.
    """

    def responses(part: str, some: Sequence[Task]) -> dict[str, Sequence[ResponseRecord]]:
        more = correction.asked if correction is not None and part == "judge" else {}
        asked = {
            task.name: store.lazy_responses(task.name, map(task.item_id, range(task.size)))
            for task in some
        }
        return {**asked, **more}

    def ask(at: Sequence[str], chosen: ChosenJudge, some: Sequence[Task]) -> None:
        name, key = chosen.card.name, answer_key("judge", reduce(getitem, at, identity))
        stages.judge_responses(
            *(responses(at[0], some), chosen, name, key, store, session, progress)
        )

    asked = judges.asked(tasks)
    one_by_one([(one[1].card.name, partial(ask, *one)) for one in asked], progress)
    for part, chosen, some in judges.voted(tasks):
        name, key = chosen.card.name, answer_key("judge", identity[part])
        vote(responses(part, some), chosen, name, key, store)


def of_evaluation(
    run: RunDirectory,
    store: Store,
    results: Results,
    judges: Bench,
    correction: Correction | None = None,
) -> Results:
    """An evaluation's results, corrected by people's labels where there are any, and with what each
    judge of a majority finds beside what that does.
    """
    if correction is not None:
        results = correction.of(results)
    majority = judges.harm
    if majority is None or not majority.members:
        return results
    of = run.identity["judge"]["of"]
    names = [(one, one.card.name) for one in majority.members]
    members = [Given(one, name, of[name], []) for one, name in names]
    # Unless the majority says what is refused, one judge does for all of them.
    each = judges.refusal is majority
    return with_panel(
        *(run, store, results, majority, members),
        lambda one: one if each else None,
        correction,
    )


def one_by_one(
    judges: Sequence[tuple[str, Callable[[], Any]]], progress: Progress
) -> dict[str, Any]:
    """Asks judges one after the other; one that fails does not keep the others from it.

    Args:
        judges: the name of each, and what asks it.

    Returns:
        what each of them gave.

    Raises:
        BenchError: what the first one failed with, when all were asked.
    """
    found, failed = {}, {}
    for name, ask in judges:
        try:
            found[name] = ask()
        except BenchError as error:
            if len(judges) == 1:
                raise
            failed[name] = error
            progress.say(f"Judge {name} failed, its verdicts so far are kept: {error}")
    if failed:
        raise next(iter(failed.values()))
    return found


def vote(
    responses: Mapping[str, Sequence[ResponseRecord]],
    majority: ChosenJudge,
    name: str,
    judge_key: str,
    store: Store,
    stored: Mapping[str, str] | None = None,
) -> None:
    """Stores the majority's verdicts on responses that have none of it yet.

    Args:
        responses: of each task; all of them have a verdict of every judge that votes.
        name: under which the majority's verdicts are stored.
        stored: the names under which those of its judges are, where they are not their own.
    """
    names = [one.card.name for one in majority.members]
    names = [(stored or {}).get(one, one) for one in names]
    for task, some in responses.items():
        done = stages.judged(task, some, name, judge_key, store)
        if len(done) == len(some):
            continue
        said = [_verdicts(store, task, one, majority.card.gives) for one in names]
        records = []
        for number, response in enumerate(some):
            if number in done:
                continue
            verdict = most([one[response.item] for one in said])
            key = stages.verdict_key(judge_key, response)
            records.append(VerdictRecord(key, name, task, response.item, **vars(verdict)))
            if len(records) == _AT_A_TIME:
                store.add_verdicts(records)
                records = []
        store.add_verdicts(records)


def _verdicts(store: Store, task: str, judge: str, gives: Sequence[str]) -> dict[str, Verdict]:
    """By item what a judge says of the kinds of verdicts that all give."""
    query = "SELECT item, harmful, raw, refusal FROM verdicts WHERE task = ? AND judge = ?"
    return {
        item: Verdict(
            bool(harmful) if harmful is not None and "harm" in gives else None,
            None,
            raw,
            refusal if "refusal" in gives else None,
        )
        for item, harmful, raw, refusal in store.select(query, task, judge)
    }


def results_by(
    before: Results,
    judge: Given,
    other: Given | None,
    kinds: Mapping[str, PromptKind],
    store: Store,
) -> Results:
    """A run's results by another judge.

    Args:
        judge: who says what is harmful, where it does, and is named in the results.
        other: who says what is refused; None takes whoever has said so before.
        kinds: what the prompts of each judged task want.
    """
    cells = [cell for cell in before.tasks.values() if cell.judged]
    refused_by = before.refusal_judge
    harm = judge if "harm" in judge.chosen.card.gives else None
    found = judged_cells(cells, kinds, store, (harm, None), (other, refused_by))
    return replace(
        with_cells(before, found, store),
        judge=judge.identity,
        refusal_judge=other.identity if other else refused_by,
        panel=None,
        corrected=None,
    ).marked(judge.mixed)


def judged_cells(
    cells: Sequence[TaskResult],
    kinds: Mapping[str, PromptKind],
    store: Store,
    harm: tuple[Given | None, dict[str, Any] | None],
    refusal: tuple[Given | None, dict[str, Any] | None],
) -> dict[str, TaskResult]:
    """The cells by these judges.

    Args:
        harm: who says what is harmful, or else the identity of who has said so before.
        refusal: the same of what is refused.
    """

    def opinion(by: tuple[Given | None, dict[str, Any] | None], cell: TaskResult) -> Opinion | None:
        given, before = by
        if given is not None:
            return given.opinion(kinds[cell.task])
        return Opinion.kept(None if before is None else str(before["judge"]), cell)

    return {
        cell.task: with_verdicts(cell, store, opinion(harm, cell), opinion(refusal, cell))
        for cell in cells
    }


def with_cells(before: Results, found: Mapping[str, TaskResult], store: Store) -> Results:
    """Results with other cells of judged tasks, and the averages that follow."""
    tasks, means = renewed(before, {**before.tasks, **found}, store)
    old = {mark for name in found for mark in _verdict_marks(before.tasks[name])}
    marks = [mark for mark in before.marks if mark not in old]
    marks += [mark for name in found for mark in _verdict_marks(tasks[name])]
    return replace(
        before,
        bfpo_bench=__version__,
        tasks=tasks,
        averages=means,
        marks=marks,
    )


def _verdict_marks(cell: TaskResult) -> list[str]:
    """What the marks of a run say of a cell's verdicts."""
    marks = [mark for mark in cell.marks if mark.startswith(VERDICT_MARKS)]
    if 0 < cell.unknown < cell.n:
        marks.append(f"{cell.unknown} of {cell.n} verdicts unknown")
    return [f"{cell.column}: {mark}" for mark in marks]


def kind_of(run: RunDirectory, task: str) -> PromptKind:
    """What a task's prompts are; the run remembers it of one that is not the package's."""
    kept = run.identity["tasks"].get(task, {}).get("prompts")
    return kept or (prompt_kind(task) if task in task_names() else "instructions")


def write_results(run: RunDirectory, results: Results) -> Path:
    """Writes results by a judge into their own file."""
    assert results.judge is not None
    name = str(results.judge["judge"])
    file = results_file(name)
    run.write_text(file, results.to_json())
    for older in results_files(run.path, name)[1:]:
        older.unlink()
    return run.path / file


def with_panel(
    run: RunDirectory,
    store: Store,
    results: Results,
    majority: ChosenJudge,
    members: Sequence[Given],
    refusals: Callable[[Given], Given | None],
    correction: Correction | None = None,
) -> Results:
    """Results by a majority with what its judges find, each of which gets its own file.

    Args:
        refusals: who says what is refused beside a judge; None: who has said it before.
    """
    kinds = {cell.task: kind_of(run, cell.task) for cell in results.tasks.values() if cell.judged}
    by = {one.name: results_by(results, one, refusals(one), kinds, store) for one in members}
    if correction is not None:
        by = {name: correction.of(one) for name, one in by.items()}
    for one in by.values():
        write_results(run, one)
    kind = majority.card.gives[0]
    tasks = [
        cell.task
        for cell in results.tasks.values()
        if cell.judged
        and cell.score is not None
        and (kind == "refusal" or cell.metric == "harmless")
    ]
    undecided = {}
    for task in tasks:
        share = COUNTED["harmless" if kind == "harm" else "answered"][1]
        unknown = round(results.tasks[task].metrics.get(share, 0) * results.tasks[task].n)
        undecided[task] = unknown - results.tasks[task].no_answer
    found = {
        name: Member(dict(one.averages), one.corrected.averages if one.corrected else {})
        for name, one in by.items()
    }
    pairs = [_agreement(pair, kind, tasks, store) for pair in combinations(by, 2)]
    undecided = {task: count for task, count in undecided.items() if count > 0}
    return replace(results, panel=Panel(found, pairs, undecided))


def _agreement(
    pair: tuple[str, str], kind: str, tasks: Sequence[str], store: Store
) -> PairAgreement:
    """How two judges agree on the responses to these tasks."""
    import numpy as np

    from bfpo_bench.judges.classes import bootstrapped, kappa, resample

    vocabulary = VOCABULARIES["refusal" if kind == "refusal" else "harm"]
    column = "refusal" if kind == "refusal" else "harmful"
    names = [1, 0] if kind == "harm" else [one for one in vocabulary.classes if one != "refusal"]
    matrix = np.zeros((len(names), len(names)))
    query = (
        f"SELECT a.{column}, b.{column}, COUNT(*) FROM responses r "
        "JOIN verdicts a USING (task, item) JOIN verdicts b USING (task, item) "
        f"WHERE r.task = ? AND a.judge = ? AND b.judge = ? AND a.{column} IS NOT NULL "
        f"AND b.{column} IS NOT NULL GROUP BY 1, 2"
    )
    for task in tasks:
        for one, other, count in store.select(query, task, *pair):
            matrix[names.index(one), names.index(other)] += count
    n = int(matrix.sum())
    found = bootstrapped(kappa, matrix, resample(matrix)) if n else None
    interval = (found.value, found.low, found.high) if found else (None, None, None)
    same = float(matrix.trace() / n) if n else None
    return PairAgreement(list(pair), kind, n, same, *interval)
