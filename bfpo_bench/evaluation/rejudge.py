"""Another judge for the responses that a run has saved: nothing is generated again.

The store holds the verdicts of any number of judges side by side; each judge's results lie in their
own file, ``results-<judge>.json``, in the schema of ``results.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.evaluation import stages
from bfpo_bench.evaluation.by_judge import (
    Given,
    corrected,
    judged_cells,
    kind_of,
    results_by,
    with_cells,
    write_results,
)
from bfpo_bench.evaluation.correct import correction_of
from bfpo_bench.evaluation.panel import one_by_one, store_majority, with_panel
from bfpo_bench.judges.calibration import Labels
from bfpo_bench.judges.chosen import ChosenJudge, among
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.identity import superseded
from bfpo_bench.run.renewed import renewed
from bfpo_bench.run.results import Results, TaskResult
from bfpo_bench.run.results_files import read_results, results_files
from bfpo_bench.run.run_json import read_run
from bfpo_bench.run.session import Session, mixed_versions
from bfpo_bench.run.store import ResponseRecord, Store, answer_key
from bfpo_bench.run.table import markdown
from bfpo_bench.suites import PromptKind

_PARTS = ("judge", "refusal_judge")
"""Of a run's identity, those that are judges."""


@dataclass(frozen=True)
class Rejudged:
    """What a judge has found in a run, and where it is written."""

    results: Results
    path: Path


def judge_run(
    path: Path,
    chosen: ChosenJudge,
    progress: Progress | None = None,
    refusal: ChosenJudge | None = None,
    labels: Labels | None = None,
    local_scratch: Path | None = None,
) -> Rejudged:
    """Judges the saved responses of a finished run, or goes on where an earlier call stopped.

    Where nobody has said yet what is harmful, or refused, in the run, its own results get that from
    here; and where this is their judge, what labels correct, and what each of several judges finds.

    Args:
        refusal: who says what is refused; None takes `chosen` where it does, else the run's own.
        labels: of people, by which the numbers are corrected.
        local_scratch: as of :class:`RunDirectory`.

    Raises:
        BadInput: the folder is no finished run with responses, or another process works on it.
        RunFailed: the judge fails on the way; the verdicts it has given are kept.
    """
    progress = progress or Progress(show=False)
    content = read_run(path)
    with RunDirectory(path, content["identity"], local_scratch=local_scratch) as run:
        before = _finished(run)
        cells = [cell for cell in before.tasks.values() if cell.judged]
        if not cells:
            raise BadInput(
                f"{path} holds no responses (its tasks are {', '.join(before.tasks)}); evaluate "
                "advbench, realtoxicityprompts, alert or alert_adversarial first."
            )
        kinds = {cell.task: kind_of(run, cell.task) for cell in cells}
        both = [chosen] if refusal is None else [chosen, refusal]
        for one in both:
            if all(one.unfit(kind) for kind in kinds.values()):
                raise BadInput(
                    f"{path} holds only responses that judge {one.card.name} is not made for "
                    f"({', '.join(kinds)}); name another judge, or ask for it with --judge-anyway."
                )
        if labels is not None and "harm" not in chosen.card.gives:
            raise BadInput(
                f"--calibration corrects verdicts of harm, and {chosen.card.name} gives none; "
                "leave it out, or name another judge."
            )
        with run.open_store() as store:
            correction = correction_of(labels, run.identity, store)
            asked_too = correction.asked if correction is not None else {}

            def ask(one: ChosenJudge) -> Given:
                found = _judge(run, store, one, cells, kinds, progress, asked_too)
                if one is not chosen and one in chosen.members:
                    # Whatever becomes of the other judges.
                    own = results_by(before, found, found if one.refuses else None, kinds, store)
                    write_results(run, corrected(run, own))
                return found

            asked = [(one.card.name, partial(ask, one)) for one in _distinct(both)]
            given = one_by_one(asked, progress)
            judge = _given(run, store, chosen, given, cells, kinds, asked_too)
            other = _given(run, store, both[-1], given, cells, kinds) if both[-1].refuses else None
            results = results_by(before, judge, other, kinds, store)
            results = corrected(run, results, correction)
            if chosen.members:
                members = [given[one.card.name] for one in chosen.members]
                results = with_panel(
                    *(run, store, results, chosen, members),
                    lambda one: one if one.chosen.refuses else other,
                    correction,
                )
            filled = None
            own, refused_by = before.judge, before.refusal_judge
            by_harm = judge if "harm" in chosen.card.gives and own is None else None
            by_refusal = other if other is not None and refused_by is None else None
            if by_harm or by_refusal:
                found = judged_cells(cells, kinds, store, (by_harm, own), (by_refusal, refused_by))
                filled = replace(
                    with_cells(before, found, store),
                    judge=by_harm.identity if by_harm else own,
                    refusal_judge=by_refusal.identity if by_refusal else refused_by,
                )
            found_too = {
                part: getattr(results, part)
                for part in ("corrected", "panel")
                if getattr(results, part) is not None
            }
            if found_too and (by_harm or own == judge.identity):
                filled = replace(filled or before, **found_too)
        file = write_results(run, results)
        if filled is not None:
            run.write_text("table.md", markdown(filled))
            run.write_text(run.results_path.name, filled.to_json())
    return Rejudged(results, file)


def _distinct(chosen: Sequence[ChosenJudge]) -> list[ChosenJudge]:
    """Judges one by one, those of a majority for themselves, each once.

    Raises:
        BadInput: two of the same name that are not the same.
    """
    found: dict[str, ChosenJudge] = {}
    for one in chosen:
        for judge in one.members or (one,):
            before = found.setdefault(judge.card.name, judge)
            if before is not judge and before.identity() != judge.identity():
                raise BadInput(
                    f"two of the judges are called {judge.card.name!r} and differ; give one of "
                    "the cards another name."
                )
    return list(found.values())


def _given(
    run: RunDirectory,
    store: Store,
    chosen: ChosenJudge,
    given: Mapping[str, Given],
    cells: Sequence[TaskResult],
    kinds: Mapping[str, PromptKind],
    more: Mapping[str, Sequence[ResponseRecord]] = MappingProxyType({}),
) -> Given:
    """A judge whose verdicts are there; a majority's are counted now.

    Args:
        more: responses by task that are no part of the run.
    """
    if not chosen.members:
        return given[chosen.card.name]
    members = [given[one.card.name] for one in chosen.members]
    chosen = ChosenJudge.majority(chosen.options, [one.chosen for one in members])
    identity = chosen.identity()
    key = answer_key("judge", identity)
    responses = {
        cell.task: _responses(run.path, store, cell)
        for cell in cells
        if not chosen.unfit(kinds[cell.task])
    }
    name = _name(identity, key, [run.identity.get(part) for part in _PARTS], responses, store)
    stored = {one.chosen.card.name: one.name for one in members}
    store_majority({**responses, **more}, chosen, name, key, store, stored)
    mixed = dict.fromkeys(mark for one in members for mark in one.mixed)
    return Given(chosen, name, {**identity, "judge": name}, list(mixed))


def _judge(
    run: RunDirectory,
    store: Store,
    chosen: ChosenJudge,
    cells: Sequence[TaskResult],
    kinds: Mapping[str, PromptKind],
    progress: Progress,
    more: Mapping[str, Sequence[ResponseRecord]],
) -> Given:
    """Has a judge give the verdicts that are missing.

    Args:
        more: responses by task that are no part of the run.
    """
    responses = {
        cell.task: _responses(run.path, store, cell)
        for cell in cells
        if not chosen.unfit(kinds[cell.task])
    }
    owns = [run.identity.get(part) for part in _PARTS]
    for own in owns:
        chosen = chosen.going_on(own)
    identity = chosen.identity()
    for older in results_files(run.path, chosen.card.name):
        if outdated := superseded(read_results(older).judge, identity):
            store.forget_verdicts(outdated)
    key = answer_key("judge", identity)
    name = _name(identity, key, owns, responses, store)
    session = Session(run, judge=name)
    wanted = {**responses, **(more if "harm" in chosen.card.gives else {})}
    stages.judge_responses(wanted, chosen, name, key, store, session, progress)
    if session.seconds:
        session.record()
    mixed = mixed_versions(run.sessions, chosen.backend, name)
    return Given(chosen, name, {**identity, "judge": name}, mixed)


def verdicts_of(path: Path) -> dict[str, Results]:
    """Results of every judge of a run, by judge; the evaluation's own comes first.

    Those of before cells had intervals get today's, and today's standard errors: the others took
    all items for independent, and a share of 0 or 100 % for certain.
    """
    found: dict[str, Results] = {}
    for file in (path / "results.json", *sorted(path.glob("results-*.json"))):
        try:
            results = read_results(file)
        except BadInput:
            continue
        if results.judge is not None:
            found.setdefault(str(results.judge["judge"]), results)
    older = [judge for judge, results in found.items() if results.older]
    if older:
        with Store(path / "samples.sqlite", read_only=True) as store:
            for judge in older:
                tasks, means = renewed(found[judge], found[judge].tasks, store)
                found[judge] = replace(found[judge], tasks=tasks, averages=means)
    return found


def _name(
    identity: dict[str, Any],
    judge_key: str,
    owns: Sequence[dict[str, Any] | None],
    responses: dict[str, list[ResponseRecord]],
    store: Store,
) -> str:
    """The name under which a judge's verdicts are stored: the card's.

    Where that name belongs to another judge already (a card that was changed, other weights), the
    beginning of the identity's hash is put behind it, so that no number mixes the two.

    Args:
        owns: identities of the judges of the evaluation itself.
    """
    name = str(identity["judge"])
    for own in (among(one, name) for one in owns):
        if own is not None:
            return name if own == identity else f"{name}-{judge_key[:8]}"
    keys = {
        (task, response.item): stages.verdict_key(judge_key, response)
        for task, some in responses.items()
        for response in some
    }
    return store.name_for(name, "verdicts", keys, judge_key)


def _finished(run: RunDirectory) -> Results:
    try:
        return read_results(run.results_path)
    except BadInput as error:
        raise BadInput(
            f"{run.path} is not finished ({error}) Run the same evaluate command again, it goes on "
            "where it stopped."
        ) from None


def _responses(path: Path, store: Store, cell: TaskResult) -> list[ResponseRecord]:
    responses = store.responses(cell.task)
    if len(responses) != cell.n:
        raise RunFailed(
            f"{path} has {len(responses)} responses to {cell.task}, its results.json counts "
            f"{cell.n}; run the same evaluate command again to complete it."
        )
    return responses
