"""Evaluate a model: the stages in order, from a path to its Disc. / Gen. / Savg. row."""

from __future__ import annotations

from collections.abc import Sequence

from bfpo_bench.also.task import AlsoTask
from bfpo_bench.common.progress import Progress, logged
from bfpo_bench.engines.protocol import Engine
from bfpo_bench.evaluation import alpaca, panel, stages
from bfpo_bench.evaluation.correct import Correction, correction_of
from bfpo_bench.evaluation.finished import finished_results
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.resolve import Evaluation, resolve
from bfpo_bench.evaluation.rounds import Rounds
from bfpo_bench.evaluation.summarize import collect
from bfpo_bench.evaluation.target import TRAINING_RECORD
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.results import Results
from bfpo_bench.run.session import Session, mixed_versions
from bfpo_bench.run.store import Store
from bfpo_bench.run.table import markdown
from bfpo_bench.tasks.requests import Task


def run_evaluation(options: EvaluateOptions, progress: Progress | None = None) -> Results:
    """Runs, resumes or, where it is finished, reads an evaluation.

    Everything computed is in the run directory as soon as it is computed; the same options again
    go on where an interrupted run stopped, and end with the same results.

    Raises:
        BadInput: something asked for cannot be had (before any long work).
        RunFailed: the run stopped on the way; what is done is kept.
    """
    progress = progress or Progress(show=False)
    evaluation = resolve(options)
    for mark in evaluation.left_out.values():
        progress.say(mark)
    with RunDirectory(
        evaluation.output, evaluation.identity, options.fresh, options.local_scratch
    ) as run:
        finished = finished_results(run, evaluation)
        if finished is not None:
            progress.say(f"Already finished; read from {run.path}. `evaluate --fresh` starts over.")
            return finished
        progress.say(f"Evaluating {options.model} on suite {options.suite} …")
        with run.open_store() as store:
            return _Stages(evaluation, run, store, progress).run()


class _Stages:
    """One session of a run: engine after engine, each freed before the next is loaded."""

    def __init__(
        self,
        evaluation: Evaluation,
        run: RunDirectory,
        store: Store,
        progress: Progress,
    ) -> None:
        self.evaluation = evaluation
        # Of the run, not of the options: it may have been begun by an earlier version.
        self.identity = run.identity
        self.run_directory = run
        self.store = store
        self.progress = progress
        self.model_key = stages.model_key(self.identity)
        self.session = Session(run)

    def run(self) -> Results:
        try:
            with self.session.timed("prepare"), logged("preparing the requests"):
                training = self.evaluation.target.training
                if training is not None:
                    self.run_directory.write_text(TRAINING_RECORD, training)
                planned = self.evaluation.planned()
                also = self.evaluation.also.written(self.evaluation.target, self.evaluation.options)
                options = self.evaluation.options
                rounds = [Rounds(task, options.precision, options.seed) for task in planned]
                for one in also:
                    stages.store_items(one, self.store)
            self._target(rounds, also)
            while judged := [one for one in rounds if one.part is not None]:
                self._judges(judged)
                self._target(judged)
            if self.evaluation.annotator is not None:
                with self.session.timed("annotate"):
                    alpaca.annotate(self.evaluation, self.store, self.progress)
            with self.session.timed("collect"), logged("collecting the results"):
                run = self.run_directory
                mixed = mixed_versions(run.sessions, self.identity["backend"])
                caveats = [*self.evaluation.target.caveats, *mixed]
                results = collect(self.evaluation, run, self.store, rounds, caveats, also)
                results = panel.of_evaluation(
                    *(run, self.store, results, self.evaluation.judges, self._correction())
                )
                # Whoever sees results finds all that they were made of.
                run.copy_store()
                self.run_directory.write_text("table.md", markdown(results))
                self.run_directory.write_text("results.json", results.to_json())
            return results
        finally:
            self._say_time()
            self.session.record()

    def _target(self, rounds: Sequence[Rounds], also: Sequence[AlsoTask] = ()) -> None:
        """Has the model answer what is asked in this round; of scored tasks, in all rounds."""
        with self.session.timed("prepare"):
            for one in rounds:
                one.begin(self.store, self.model_key)
        waiting = [
            one for one in rounds if one.part and (one.part.scores or self._unanswered(one.part))
        ]
        beside = [task for task in also if self._unanswered(task)]
        if not waiting and not beside:
            return
        with self.session.timed("load model"):
            target = self.evaluation.target
            if target.note:
                self.progress.say(f"{target.name}: {target.note}.")
            with self.progress.stage(f"loading {target.name} ({target.backend})"):
                asked = [one.part for one in waiting if one.part]
                engine = target.open([*asked, *beside], self.run_directory.scratch)
        try:
            for one in waiting:
                while one.part is not None:
                    self._answer(one.part, engine)
                    if not one.part.scores:
                        break
                    one.settle(self.store)
                    one.begin(self.store, self.model_key)
            for task in beside:
                self._answer(task, engine)
            self.run_directory.clear_scratch()
        finally:
            engine.close()

    def _unanswered(self, task: Task | AlsoTask) -> bool:
        return stages.unanswered(task, self.model_key, self.store)

    def _answer(self, task: Task | AlsoTask, engine: Engine) -> None:
        arguments = (task, self.model_key, engine, self.store, self.progress)
        if task.scores:
            with self.session.timed("score"):
                stages.score(*arguments)
        if task.prompts:
            with self.session.timed("respond"):
                stages.respond(*arguments)

    def _judges(self, rounds: Sequence[Rounds]) -> None:
        """Has the responses of this round judged."""
        judges = self.evaluation.judges
        asked = [one.part for one in rounds if one.part is not None]
        panel.judge_tasks(
            *(judges, asked, self.identity, self.store, self.session, self.progress),
            self._correction(),
        )
        for one in rounds:
            one.settle(self.store, judges.names)

    def _correction(self) -> Correction | None:
        """That by people's labels, of the responses that are there."""
        return correction_of(self.evaluation.labels, self.identity, self.store)

    def _say_time(self) -> None:
        spent = ", ".join(
            f"{stage} {seconds:.0f} s"
            for stage, seconds in self.session.seconds.items()
            if seconds >= 1
        )
        if spent:
            self.progress.say(f"Time: {spent}.")
