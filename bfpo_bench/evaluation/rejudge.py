"""Another judge for the responses that a run has saved: nothing is generated again.

The store holds the verdicts of any number of judges side by side; each judge's results lie in their
own file, ``results-<judge>.json``, in the schema of ``results.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bfpo_bench import __version__
from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.evaluation import stages
from bfpo_bench.evaluation.verdicts import Opinion, with_verdicts
from bfpo_bench.judges.chosen import ChosenJudge
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.identity import superseded
from bfpo_bench.run.marks import VERDICT_MARKS
from bfpo_bench.run.renewed import renewed
from bfpo_bench.run.results import Results, TaskResult
from bfpo_bench.run.results_files import read_results, results_file, results_files
from bfpo_bench.run.run_json import read_run
from bfpo_bench.run.session import Session, mixed_versions
from bfpo_bench.run.store import ResponseRecord, Store, answer_key
from bfpo_bench.run.table import markdown
from bfpo_bench.suites import PromptKind, prompt_kind, task_names


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
) -> Rejudged:
    """Judges the saved responses of a finished run, or goes on where an earlier call stopped.

    Where nobody has said yet what is harmful, or refused, in the run, its own results get that from
    here.

    Args:
        refusal: who says what is refused; None takes `chosen` where it does, else the run's own.

    Raises:
        BadInput: the folder is no finished run with responses, or another process works on it.
        RunFailed: the judge fails on the way; the verdicts it has given are kept.
    """
    progress = progress or Progress(show=False)
    content = read_run(path)
    with RunDirectory(path, content["identity"]) as run:
        before = _finished(run)
        cells = [cell for cell in before.tasks.values() if cell.judged]
        if not cells:
            raise BadInput(
                f"{path} holds no responses (its tasks are {', '.join(before.tasks)}); evaluate "
                "advbench, realtoxicityprompts, alert or alert_adversarial first."
            )
        kinds = {cell.task: _kind(run, cell.task) for cell in cells}
        both = [chosen] if refusal is None else [chosen, refusal]
        for one in both:
            if all(one.unfit(kind) for kind in kinds.values()):
                raise BadInput(
                    f"{path} holds only responses that judge {one.card.name} is not made for "
                    f"({', '.join(kinds)}); name another judge, or ask for it with --judge-anyway."
                )
        with run.open_store() as store:
            given = [_judge(run, store, one, cells, kinds, progress) for one in both]
            judge, other = given[0], given[-1] if both[-1].refuses else None

            def opinion(
                by: _Given | None, before: dict[str, Any] | None, cell: TaskResult
            ) -> Opinion | None:
                if by is not None:
                    return Opinion.of(by.chosen, by.name, kinds[cell.task])
                return Opinion.kept(None if before is None else str(before["judge"]), cell)

            own, refused_by = before.judge, before.refusal_judge
            says_harm = "harm" in chosen.card.gives
            found = {
                cell.task: with_verdicts(
                    *(cell, store, opinion(judge, None, cell) if says_harm else None),
                    opinion(other, refused_by, cell),
                )
                for cell in cells
            }
            results = _results(before, found, store)
            results = replace(
                results,
                judge=judge.identity,
                refusal_judge=other.identity if other else refused_by,
                marks=[*results.marks, *judge.mixed],
            )
            filled = None
            fills_harm = says_harm and own is None
            fills_refusals = other is not None and refused_by is None
            if fills_harm or fills_refusals:
                by_harm = judge if fills_harm else None
                by_refusal = other if fills_refusals else None
                found = {
                    cell.task: with_verdicts(
                        *(cell, store, opinion(by_harm, own, cell)),
                        opinion(by_refusal, refused_by, cell),
                    )
                    for cell in cells
                }
                filled = replace(
                    _results(before, found, store),
                    judge=by_harm.identity if by_harm else own,
                    refusal_judge=by_refusal.identity if by_refusal else refused_by,
                )
        file = results_file(judge.name)
        run.write_text(file, results.to_json())
        for older in results_files(path, judge.name)[1:]:
            older.unlink()
        if filled is not None:
            run.write_text("table.md", markdown(filled))
            run.write_text(run.results_path.name, filled.to_json())
    return Rejudged(results, path / file)


@dataclass(frozen=True)
class _Given:
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


def _judge(
    run: RunDirectory,
    store: Store,
    chosen: ChosenJudge,
    cells: Sequence[TaskResult],
    kinds: Mapping[str, PromptKind],
    progress: Progress,
) -> _Given:
    """Has a judge give the verdicts that are missing."""
    responses = {
        cell.task: _responses(run.path, store, cell)
        for cell in cells
        if not chosen.unfit(kinds[cell.task])
    }
    owns = [run.identity.get(part) for part in ("judge", "refusal_judge")]
    for own in owns:
        chosen = chosen.going_on(own)
    identity = chosen.identity()
    for older in results_files(run.path, chosen.card.name):
        if outdated := superseded(read_results(older).judge, identity):
            store.forget_verdicts(outdated)
    key = answer_key("judge", identity)
    name = _name(identity, key, owns, responses, store)
    session = Session(run, judge=name)
    stages.judge_responses(responses, chosen, name, key, store, session, progress)
    if session.seconds:
        session.record()
    mixed = mixed_versions(run.sessions, chosen.backend, name)
    return _Given(chosen, name, {**identity, "judge": name}, mixed)


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
    for own in owns:
        if own is not None and own["judge"] == name:
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


def _kind(run: RunDirectory, task: str) -> PromptKind:
    """What the task's prompts are; the run remembers it of one that is not the package's."""
    kept = run.identity["tasks"].get(task, {}).get("prompts")
    return kept or (prompt_kind(task) if task in task_names() else "instructions")


def _responses(path: Path, store: Store, cell: TaskResult) -> list[ResponseRecord]:
    responses = store.responses(cell.task)
    if len(responses) != cell.n:
        raise RunFailed(
            f"{path} has {len(responses)} responses to {cell.task}, its results.json counts "
            f"{cell.n}; run the same evaluate command again to complete it."
        )
    return responses


def _results(before: Results, found: dict[str, TaskResult], store: Store) -> Results:
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
