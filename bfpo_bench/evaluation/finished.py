"""Whether a run holds all that a command asks for already."""

from __future__ import annotations

from bfpo_bench.evaluation import alpaca
from bfpo_bench.evaluation.correct import is_corrected
from bfpo_bench.evaluation.resolve import Evaluation
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.identity import superseded
from bfpo_bench.run.marks import NO_JUDGE
from bfpo_bench.run.results import Results
from bfpo_bench.run.results_files import results_there


def finished_results(run: RunDirectory, evaluation: Evaluation) -> Results | None:
    """The results of an earlier, finished command that covers this one."""
    results = results_there(run.results_path)
    # Those that cannot be read are made again from the store.
    if results is None or results.older:
        return None
    if superseded(results.judge, run.identity["judge"]) or _refused(evaluation, results):
        return None
    done = {*results.tasks, *results.also}
    done |= set(results.answered if alpaca.is_annotated(evaluation, results) else ())
    wanted = {task.name for task in evaluation.tasks}
    said = all(name in done or mark in results.marks for name, mark in evaluation.left_out.items())
    labels = evaluation.labels
    by_people = labels is None or is_corrected(results, labels)
    if not said or not by_people or _asked_anyway(evaluation, results):
        return None
    return results if wanted <= done and evaluation.also.done(results) else None


def _refused(evaluation: Evaluation, results: Results) -> bool:
    """Whether this command asks another judge for what is refused, or the first one."""
    asked = evaluation.judges.refusal
    return asked is not None and asked.card.name != results.judges.refusal


def _asked_anyway(evaluation: Evaluation, results: Results) -> bool:
    """Whether this command asks for a figure that the judge gave none of, as it does not fit."""
    if not evaluation.options.judge_anyway:
        return False
    cells = [results.tasks.get(task.name) for task in evaluation.tasks]
    marks = [mark for cell in cells if cell is not None for mark in cell.marks]
    return any(mark.startswith(NO_JUDGE) for mark in marks)
