"""The Alpaca column of an evaluation: its stage and its result, made by bfpo_bench.helpfulness."""

from __future__ import annotations

import json
from dataclasses import replace

from bfpo_bench.common.progress import Progress
from bfpo_bench.evaluation.resolve import Evaluation
from bfpo_bench.helpfulness.annotator import ChosenAnnotator
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.results import HelpfulnessResult, Results
from bfpo_bench.run.store import Store
from bfpo_bench.tasks.requests import Task


def is_annotated(evaluation: Evaluation, results: Results) -> bool:
    """Whether the Alpaca column is as this command would fill it."""
    if evaluation.annotator is None:
        return True
    found = results.helpfulness
    if found is None or json.dumps(found.settings, sort_keys=True) != json.dumps(
        evaluation.annotator.identity, sort_keys=True
    ):
        return False
    # Better files for length control may be at hand now.
    whole = str(found.lc_model).startswith("length_controlled_v1")
    return whole or evaluation.suite.demonstration


def annotate(evaluation: Evaluation, store: Store, progress: Progress) -> None:
    """Has the stored responses compared with the reference outputs where they are not yet."""
    from bfpo_bench.helpfulness.annotate import annotate, make_pairs

    assert evaluation.annotator is not None
    pairs = make_pairs(evaluation.annotator, store, evaluation.options.seed)
    annotate(pairs, evaluation.annotator, evaluation.prices, store, progress)


def result(
    evaluation: Evaluation,
    annotator: ChosenAnnotator,
    run: RunDirectory,
    store: Store,
    task: Task,
) -> HelpfulnessResult:
    """The metrics of the annotations, with the files of length control that they were made by."""
    from bfpo_bench.data import find_data_dir
    from bfpo_bench.helpfulness.annotate import annotations_of, make_pairs, stored_name
    from bfpo_bench.helpfulness.inputs import LENGTH_CONTROL, better_inputs, inputs_text
    from bfpo_bench.helpfulness.metrics import measure
    from bfpo_bench.helpfulness.upstream import Upstream, read_upstream

    options, loaded = evaluation.options, task.loaded
    pairs = make_pairs(annotator, store, options.seed)
    annotations = annotations_of(pairs, annotator, store, evaluation.target.name)

    def read() -> Upstream:
        if evaluation.suite.demonstration:
            return Upstream()
        folder = find_data_dir(options.data_dir)
        return read_upstream(folder, [row["instruction"] for row in loaded.rows])

    upstream = better_inputs(run.path, read)
    run.write_text(LENGTH_CONTROL, inputs_text(upstream, annotations[0]))
    name, settings = stored_name(annotator, store), dict(annotator.identity)
    return replace(measure(annotations, upstream), annotator=name, settings=settings)
