"""A run's Alpaca column made of AlpacaEval's files, and the run as well where there is none."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bfpo_bench import __version__
from bfpo_bench.common.errors import BadInput
from bfpo_bench.data import Loaded
from bfpo_bench.data.load import find_data_dir
from bfpo_bench.helpfulness.annotation import (
    TASK,
    Annotation,
    Instruction,
    check_instructions,
    load_instructions,
    of_row,
    read_annotations,
    read_outputs,
)
from bfpo_bench.helpfulness.inputs import LENGTH_CONTROL, inputs_text
from bfpo_bench.helpfulness.metrics import measure
from bfpo_bench.helpfulness.upstream import read_upstream
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.results import SCHEMA_VERSION, Results
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.run_json import read_evaluation
from bfpo_bench.run.store import (
    AnnotationRecord,
    ItemRecord,
    ResponseRecord,
    Store,
    answer_key,
    source_row,
)
from bfpo_bench.run.table import markdown
from bfpo_bench.run.uncertainty import averages
from bfpo_bench.suites import Suite, load_suite
from bfpo_bench.tasks.alpaca_eval import SOURCE

log = logging.getLogger(__name__)

BACKEND = "import"
"""Stands in ``run.json`` where a run was made of files."""


def import_annotations(
    run: Path,
    annotations: Path,
    outputs: Path | None = None,
    data_dir: Path | None = None,
    weights: Path | None = None,
) -> Results:
    """Fills the Alpaca column of a run from AlpacaEval's files, and makes the run if need be.

    Args:
        run: a run directory, or where one is to be made.
        annotations: ``annotations.json``.
        outputs: ``model_outputs.json``; checked against the annotations, which hold them too.
        data_dir: folder with ``alpacaeval/``; default: ``BFPO_DATA_DIR``, then the hub.
        weights: published length-control weights, which must then be of these annotations.

    Returns:
        the run's results, the column among them.

    Raises:
        BadInput: a file is not what it should be, is of other instructions, another reference
            model or other outputs, or the run is of another model.
    """
    found = read_annotations(annotations)
    loaded, instructions = load_instructions(data_dir)
    _check(annotations, found, instructions, outputs)
    upstream = read_upstream(
        find_data_dir(data_dir), [one.instruction for one in instructions], weights
    )
    by_text = {one.instruction: one for one in found}
    ordered = [by_text[one.instruction] for one in instructions]
    column = replace(measure(ordered, upstream), settings={"kind": BACKEND})
    made = not (run / "run.json").exists()
    identity = _identity(loaded, ordered) if made else _grown(run, loaded, ordered)
    with RunDirectory(run, identity) as directory:
        results = _empty(identity) if made else read_results(run / "results.json")
        with directory.open_store() as store:
            annotator = _store(store, loaded, instructions, ordered)
        results = replace(results, helpfulness=replace(column, annotator=annotator))
        directory.write_text(LENGTH_CONTROL, inputs_text(upstream, ordered[0]))
        directory.write_text("results.json", results.to_json())
        directory.write_text("table.md", markdown(results))
    return results


def _check(
    path: Path, found: list[Annotation], instructions: list[Instruction], outputs: Path | None
) -> None:
    expected = [one.instruction for one in instructions]
    reference = instructions[0].reference_model
    named = found[0].generator_1
    if named != reference:
        raise BadInput(
            f"{path} compares with {named!r}, and the Alpaca column is against {reference!r}; "
            "annotate the outputs against that model's."
        )
    check_instructions(path, [one.instruction for one in found], expected)
    own = {one.instruction: one.reference_output for one in instructions}
    different = sum(own[one.instruction] != one.output_1 for one in found)
    if different:
        raise BadInput(
            f"{different} of the reference outputs in {path} are not those of {reference}; "
            "annotate against the reference outputs that AlpacaEval publishes."
        )
    if outputs is None:
        return
    given = read_outputs(outputs)
    if given[0].generator != found[0].generator_2:
        log.warning(
            "%s is of %r and %s of %r; the row takes the second name.",
            *(outputs, given[0].generator, path, found[0].generator_2),
        )
    check_instructions(outputs, [one.instruction for one in given], expected)
    answers = {one.instruction: one.output for one in given}
    different = sum(answers[one.instruction] != one.output_2 for one in found)
    if different:
        raise BadInput(
            f"{different} of the {len(given)} outputs in {outputs} are not those that were "
            f"annotated in {path}; give the outputs that were annotated."
        )


def _identity(loaded: Loaded, annotations: Sequence[Annotation]) -> dict[str, Any]:
    """What a run that is made of files depends on: the model's outputs."""
    suite = load_suite("paper")
    text = json.dumps([one.output_2 for one in annotations])
    return {
        "model": {
            "name": annotations[0].generator_2,
            "outputs": hashlib.sha256(text.encode()).hexdigest()[:32],
        },
        "backend": BACKEND,
        "dtype": None,
        "max_length": None,
        "system_prompt": None,
        "suite": {"name": suite.name, "version": suite.version},
        **_parts(loaded, suite),
        "limit": None,
        "seed": 0,
        "judge": None,
    }


def _parts(loaded: Loaded, suite: Suite) -> dict[str, Any]:
    assert suite.helpfulness is not None
    settings = {
        "version": suite.helpfulness.version,
        "metric": "win_rate",
        "chat_template": None,
        "generation": None,
    }
    data = {"variant": loaded.variant, "digest": loaded.digest}
    return {"tasks": {TASK: settings}, "data": {SOURCE.name: data}}


def _grown(run: Path, loaded: Loaded, annotations: Sequence[Annotation]) -> dict[str, Any]:
    """The identity of a run that is there, after the import.

    Raises:
        BadInput: the run is of other outputs.
    """
    before: dict[str, Any] = read_evaluation(run)["identity"]
    if before.get("backend") == BACKEND:
        # A difference in the outputs is named when the directory is opened.
        return {**_identity(loaded, annotations), "judge": before.get("judge")}
    read_results(run / "results.json")  # an unfinished evaluation is finished first
    if TASK not in before["tasks"]:
        parts = _parts(loaded, load_suite("paper"))
        return {**before, **{part: {**before[part], **parts[part]} for part in parts}}
    with Store(run / "samples.sqlite", read_only=True) as store:
        answered = {
            of_row(item.item, source_row(item)).instruction: response.response
            for item in store.iter_items(TASK)
            for response in store.responses(TASK, item.item)
        }
    different = sum(answered.get(one.instruction) != one.output_2 for one in annotations)
    if different:
        raise BadInput(
            f"{different} of the {len(annotations)} annotated outputs are not the responses that "
            f"{run} holds; import them into a run directory of their own."
        )
    return before


def _empty(identity: dict[str, Any]) -> Results:
    suite = load_suite("paper")
    return Results(
        schema=SCHEMA_VERSION,
        bfpo_bench=__version__,
        model=identity["model"],
        suite={"name": suite.name, "version": suite.version, "demonstration": False},
        backend=BACKEND,
        judge=None,
        seed=0,
        limit=None,
        tasks={},
        averages=averages({}, suite.tasks),
        marks=["made of AlpacaEval's files: the model itself was not run here"],
    )


def _store(
    store: Store,
    loaded: Loaded,
    instructions: Sequence[Instruction],
    annotations: Sequence[Annotation],
) -> str:
    """Stores instructions, outputs and annotations; the name that these have there."""
    rows = (json.dumps(row, sort_keys=True, default=str) for row in loaded.rows)
    store.add_items(
        ItemRecord(TASK, one.item, n, row)
        for n, (one, row) in enumerate(zip(instructions, rows, strict=True))
    )
    there = {one.item: one for one in store.responses(TASK)}
    responses = [
        there.get(one.item) or _response(one, annotation)
        for one, annotation in zip(instructions, annotations, strict=True)
    ]
    store.add_responses(one for one in responses if one.item not in there)
    keys = [
        answer_key(BACKEND, annotation.annotator, response.key)
        for response, annotation in zip(responses, annotations, strict=True)
    ]
    asked = {(TASK, one.item): key for one, key in zip(responses, keys, strict=True)}
    annotator = annotations[0].annotator
    name = store.name_for(annotator, "annotations", asked, answer_key(BACKEND, annotator))
    store.add_annotations(
        AnnotationRecord(
            key=key,
            annotator=name,
            task=TASK,
            item=response.item,
            preference=annotation.preference,
            raw=None if (told := annotation.raw_completion) is None else json.dumps(told),
            settings=json.dumps({"kind": BACKEND}),
        )
        for key, response, annotation in zip(keys, responses, annotations, strict=True)
    )
    return name


def _response(one: Instruction, annotation: Annotation) -> ResponseRecord:
    """An output of unknown making: no prompt, no seed and no token was seen here."""
    return ResponseRecord(
        key=answer_key(BACKEND, annotation.generator_2, one.item, annotation.output_2),
        task=TASK,
        item=one.item,
        prompt="",
        question=one.instruction,
        response=annotation.output_2,
        finish=BACKEND,
        seed=0,
        prompt_tokens=0,
        tokens=0,
        cut_tokens=0,
    )
