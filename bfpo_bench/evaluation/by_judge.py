"""A run's results by other judges than those that they were made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bfpo_bench import __version__
from bfpo_bench.evaluation.correct import Correction, still_corrected
from bfpo_bench.evaluation.verdicts import Opinion, with_verdicts
from bfpo_bench.judges.chosen import ChosenJudge
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.marks import VERDICT_MARKS
from bfpo_bench.run.renewed import renewed
from bfpo_bench.run.results import Results, TaskResult
from bfpo_bench.run.results_files import results_file, results_files, results_there
from bfpo_bench.run.store import Store
from bfpo_bench.suites import PromptKind, prompt_kind, task_names


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


def corrected(run: RunDirectory, results: Results, correction: Correction | None = None) -> Results:
    """Results by a judge, corrected by people's labels; without any, what others have corrected
    before stays as far as the numbers have.
    """
    if correction is not None:
        return correction.of(results)
    if results.judge is None:
        return results
    # Where both are this judge's, the run's own file is never the older one.
    for path in (run.results_path, run.path / results_file(str(results.judge["judge"]))):
        found = still_corrected(results, results_there(path))
        if found.corrected is not None:
            return found
    return results


def write_results(run: RunDirectory, results: Results) -> Path:
    """Writes results by a judge into their own file."""
    assert results.judge is not None
    name = str(results.judge["judge"])
    file = results_file(name)
    run.write_text(file, results.to_json())
    for older in results_files(run.path, name)[1:]:
        older.unlink()
    return run.path / file
