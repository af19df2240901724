"""Several judges of a run: asked one after the other, their majority, and what each one finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from itertools import combinations
from operator import getitem
from typing import Any

from bfpo_bench.common.errors import BenchError
from bfpo_bench.common.progress import Progress
from bfpo_bench.evaluation import stages
from bfpo_bench.evaluation.bench import Bench
from bfpo_bench.evaluation.by_judge import Given, corrected, kind_of, results_by, write_results
from bfpo_bench.evaluation.correct import Correction
from bfpo_bench.judges import Verdict
from bfpo_bench.judges.chosen import ChosenJudge
from bfpo_bench.judges.majority import vote
from bfpo_bench.judges.vocabulary import VOCABULARIES
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.panel import Member, PairAgreement, Panel
from bfpo_bench.run.results import Results
from bfpo_bench.run.session import Session
from bfpo_bench.run.shares import COUNTED
from bfpo_bench.run.store import ResponseRecord, Store, VerdictRecord, answer_key
from bfpo_bench.tasks.requests import Task

_AT_A_TIME = 1000
"""Verdicts that are put into the store together."""


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
        store_majority(responses(part, some), chosen, name, key, store)


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
    results = corrected(run, results, correction)
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


def store_majority(
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
            verdict = vote([one[response.item] for one in said])
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
    by = {name: corrected(run, one, correction) for name, one in by.items()}
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
