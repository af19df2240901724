"""The samples of a run, one at a time: what was asked of an item, answered, judged and scored."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.text import valid_text
from bfpo_bench.run.results import Results
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.run_json import read_evaluation
from bfpo_bench.run.store import (
    AnnotationRecord,
    ItemRecord,
    ResponseRecord,
    ScoreRecord,
    Store,
    VerdictRecord,
    source_row,
)
from bfpo_bench.run.store.records import REFUSALS
from bfpo_bench.suites import load_suite, suite_names, suite_parts


@dataclass(frozen=True)
class Sample:
    """Everything a run holds about one item.

    Attributes:
        row: the item's source fields.
        scores: one per choice, in the order of the choices; empty for a judged task.
        response: None for a scored task.
        verdicts: of every judge that judged the response.
        annotations: of every annotator that compared it with the reference's.
        metrics: the item's value of each metric; empty while the run is not finished.
    """

    item: ItemRecord
    row: dict[str, Any]
    scores: list[ScoreRecord]
    response: ResponseRecord | None
    verdicts: list[VerdictRecord]
    annotations: list[AnnotationRecord]
    metrics: dict[str, float]

    def as_choices(self) -> tuple[str, list[str], int]:
        """Of a scored item: what all texts begin with, how each goes on, the likeliest's number."""
        # Characters are meant.
        shared = os.path.commonprefix([score.context for score in self.scores])  # noqa: RUF071
        choices = [score.context[len(shared) :] + score.continuation for score in self.scores]
        likeliest = max(range(len(choices)), key=lambda place: self.scores[place].loglikelihood)
        return shared, choices, likeliest


@dataclass(frozen=True)
class SampleCounts:
    """How many samples of a task there are.

    Attributes:
        items: in the source, as far as it was asked.
        answered: items with an answer, whole or not.
        harmful, harmless, unknown: by the verdicts of one judge.
        complied, partly_refused, refused: by the same; 0 all where it gives no refusal verdicts.
        right, wrong: by the task's accuracy; 0 both where it has another metric or no results yet.
    """

    items: int
    answered: int
    harmful: int
    harmless: int
    unknown: int
    complied: int
    partly_refused: int
    refused: int
    right: int
    wrong: int


ACCURACIES = ("acc", "acc_norm")
"""Metrics of which an item has 1 where the likeliest choice is right, else 0."""


class RunSamples:
    """A run directory opened for reading; close it when done.

    Attributes:
        path: the run directory.
        content: what stands in its ``run.json``.
        results: what stands in its ``results.json``; None when there is none yet.
        problem: why what stands there is of no use; None where it is, or is not there.
        model: name of the model.
        suite: name of the suite.
        tasks: its tasks, by name, with the settings they were run with.
        unanswered: items met so far that have no answer.
        remarks: sentences of a format's own on what it has no place for.

    Raises:
        BadInput: no run, a damaged one, one of a newer version, or one without a store yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = read_evaluation(path)
        identity = self.content["identity"]
        self.model: str = identity["model"]["name"]
        self.suite: str = identity["suite"]["name"]
        self.tasks: dict[str, dict[str, Any]] = dict(identity["tasks"])
        # lm-eval's own are looked at here, and exported by nobody but lm-eval.
        self.also = [name for name, one in identity.get("also", {}).items() if "group" not in one]
        self.results: Results | None = None
        self.problem: str | None = None
        if os.path.lexists(path / "results.json"):
            try:
                self.results = read_results(path / "results.json")
            except BadInput as error:
                # They are made last and can be made again; the answers are looked at all the same.
                self.problem = str(error)
        self.unanswered = 0
        self.remarks: list[str] = []
        self._columns = _columns(self.results, self.suite)
        self._store = Store(path / "samples.sqlite", read_only=True)

    def placing(self, task: str) -> tuple[str | None, str | None]:
        """Column title and group of a task; None where neither results nor a suite say them."""
        return self._columns.get(task, (None, None))

    @property
    def date(self) -> datetime:
        """When the run was last worked on, in UTC."""
        sessions = self.content.get("sessions") or []
        try:
            return datetime.fromisoformat(sessions[-1]["started"]).astimezone(UTC)
        except (LookupError, TypeError, ValueError):
            # Killed, or still in its first session: the file was written when that began.
            return datetime.fromtimestamp((self.path / "run.json").stat().st_mtime, UTC)

    @property
    def judge(self) -> str | None:
        """Name of the judge that the run's own results count; None without judged tasks."""
        judge = (self.results and self.results.judge) or self.content["identity"].get("judge")
        return None if judge is None else str(judge["judge"])

    @property
    def judges(self) -> list[str]:
        """Whose verdicts the run holds, by name."""
        found = self._store.select("SELECT DISTINCT judge || '' FROM verdicts ORDER BY 1")
        return [valid_text(judge) for (judge,) in found]

    @property
    def metrics(self) -> list[str]:
        """Metrics of which the run holds items' values, by name."""
        found = self._store.select("SELECT DISTINCT task, metric || '' FROM outcomes")
        # Those of lm-eval's own tasks are in its results, and have no columns here.
        return sorted({metric for task, metric in found if task in self.tasks})

    def metric(self, task: str) -> str | None:
        """The metric of a task's cell; None where an old run that is not finished does not say."""
        done = self.results.tasks.get(task) if self.results is not None else None
        metric = self.tasks.get(task, {}).get("metric") or (done.metric if done else None)
        return None if metric is None else str(metric)

    def judge_named(self, name: str | None = None, refusal: bool = False) -> str | None:
        """One of :attr:`judges`: of that name, or the run's own, or the first; None without any.

        Args:
            refusal: of those that give refusal verdicts, unless one is named.

        Raises:
            BadInput: no judge of that name has judged the run.
        """
        there = self.judges
        if name is not None and name not in there:
            raise unknown_name("judge of this run", name, there)
        if refusal:
            query = "SELECT DISTINCT judge FROM verdicts WHERE refusal IS NOT NULL ORDER BY judge"
            there = [valid_text(judge) for (judge,) in self._store.select(query)]
        own = [judge for judge in there if self.judge and judge.startswith(self.judge)]
        return name or next(iter([*own, *there]), None)

    def counts(self, task: str, judge: str | None) -> SampleCounts:
        """How many samples of a task there are, and what a judge says of them."""
        answered = (
            "SELECT COUNT(*) FROM (SELECT item FROM responses WHERE task = ? "
            "UNION SELECT item FROM scores WHERE task = ?)"
        )
        graded = (
            "SELECT value >= 1, COUNT(*) FROM outcomes WHERE task = ? AND metric = ? GROUP BY 1"
        )
        metric = self.metric(task)
        select = self._store.select
        verdicts = self._store.verdict_counts(task, judge) if judge is not None else {}
        refusals = self._store.refusal_counts(task, judge) if judge is not None else {}
        right = dict(select(graded, task, metric)) if metric in ACCURACIES else {}
        return SampleCounts(
            *select("SELECT COUNT(*) FROM items WHERE task = ?", task)[0],
            *select(answered, task, task)[0],
            *(verdicts.get(said, 0) for said in (True, False, None)),
            *(refusals.get(said, 0) for said in REFUSALS),
            *(right.get(is_right, 0) for is_right in (1, 0)),
        )

    def of(self, task: str, beginning: str = "") -> Iterator[Sample]:
        """The samples of a task in the order of its source; items without an answer are counted.

        Args:
            beginning: only of items whose id begins with it.
        """
        # Looked up where there can be any: their index begins with the annotator.
        annotated = self.metric(task) == "win_rate"
        for item in self._store.iter_items(task, beginning):
            scores = self._store.scores(task, item.item)
            responses = self._store.responses(task, item.item)
            if not scores and not responses:
                self.unanswered += 1
                continue
            # The seed and the settings of a run are fixed, so an item has one response at most.
            response = responses[0] if responses else None
            yield Sample(
                item=item,
                row=source_row(item),
                scores=scores,
                response=response,
                verdicts=self._store.verdicts_on(task, item.item) if response else [],
                annotations=self._store.annotations_on(task, item.item) if annotated else [],
                metrics=self._store.outcomes_of(task, item.item),
            )

    @property
    def unfinished(self) -> list[str]:
        """Tasks that have no results yet."""
        done = self.results.tasks if self.results is not None else {}
        # Responses for an annotator are no task of Disc. or Gen. and have no cell among theirs.
        return [
            task
            for task in self.tasks
            if task not in done
            and not (self.results and self.tasks[task].get("metric") == "win_rate")
        ]

    def notes(self) -> list[str]:
        """What a reader of the samples must be told, once they were read."""
        notes = [] if self.problem is None else [f"Exported without its results: {self.problem}"]
        if self.unfinished and self.problem is None:
            notes.append(
                f"{self.path} is not finished: no results yet for {len(self.unfinished)} of "
                f"{len(self.tasks)} tasks ({', '.join(self.unfinished)}); what is there was "
                "exported."
            )
        if self.unanswered:
            items = "1 item" if self.unanswered == 1 else f"{self.unanswered} items"
            notes.append(f"Left out: {items} not fully answered.")
        return notes + self.remarks

    def require_results(self) -> Results:
        """The run's results.

        Raises:
            BadInput: there are none yet, or none of use.
        """
        if self.results is None:
            raise BadInput(
                f"{self.path} has no results yet, and this format is made of them; run the same "
                "evaluate command again, it goes on where it stopped."
            )
        return self.results

    def no_number(self, wanted_for: str) -> BadInput:
        """What is said where no task has a number."""
        return BadInput(
            f"{self.path} has no number yet for {wanted_for}; have its responses judged with "
            "`bfpo-bench judge` first."
        )

    def require_answers(self) -> None:
        """Raises BadInput when the run holds no answer yet."""
        if not any(True for task in self.tasks for _ in self.of(task)):
            raise BadInput(
                f"{self.path} holds no answers yet, so there is nothing to export; evaluate first."
            )
        self.unanswered = 0

    def close(self) -> None:
        """Closes the store."""
        self._store.close()

    def __enter__(self) -> RunSamples:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _columns(results: Results | None, suite: str) -> dict[str, tuple[str | None, str | None]]:
    found: dict[str, tuple[str | None, str | None]] = {}
    if set(suite_parts(suite)) <= set(suite_names()):
        found = {task.task: (task.column, task.group) for task in load_suite(suite).everything}
    if results is not None:
        found |= {name: (task.column, task.group) for name, task in results.tasks.items()}
    return found
