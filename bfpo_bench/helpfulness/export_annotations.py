"""A run's outputs and annotations: read for comparisons, written in AlpacaEval's formats."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.files import atomic_folder
from bfpo_bench.helpfulness.annotation import (
    TASK,
    Annotation,
    ModelOutput,
    of_row,
    write_annotations,
    write_outputs,
)
from bfpo_bench.run.directory import read_run
from bfpo_bench.run.results import read_results
from bfpo_bench.run.store import Store


@dataclass(frozen=True)
class Helpfulness:
    """What a run holds for the Alpaca column, in the order of the instructions."""

    outputs: list[ModelOutput]
    annotations: list[Annotation]


def read_helpfulness(run: Path, annotator: str | None = None) -> Helpfulness:
    """Outputs and annotations of a run.

    Args:
        annotator: whose annotations; default: those that the run's results are of, or the only
            ones there are.

    Raises:
        BadInput: no run, or one without responses to instructions or without that annotator.
    """
    model = str(read_run(run)["identity"]["model"]["name"])
    with Store(run / "samples.sqlite", read_only=True) as store:
        items = {item.item: of_row(item.item, json.loads(item.row)) for item in store.items(TASK)}
        responses = {one.item: one for one in store.responses(TASK)}
        records = list(store.annotations().values())
    if not responses:
        raise BadInput(
            f"{run} holds no responses to AlpacaEval's instructions; evaluate with --annotator or "
            "import them first."
        )
    outputs = [
        ModelOutput(one.instruction, responses[item].response, model, one.dataset)
        for item, one in items.items()
        if item in responses
    ]
    names = {record.annotator for record in records}
    if annotator is not None and annotator not in names:
        raise unknown_name(f"annotator of {run}", annotator, names or {"none"})
    chosen = annotator or _annotator(run, names)
    mine = {
        record.item: record
        for record in records
        if record.annotator == chosen and record.item in responses
    }
    annotations = [
        Annotation(
            instruction=one.instruction,
            dataset=one.dataset,
            output_1=one.reference_output,
            generator_1=one.reference_model,
            output_2=responses[item].response,
            generator_2=model,
            annotator=mine[item].annotator,
            preference=mine[item].preference,
            raw=_json(mine[item].raw),
        )
        for item, one in items.items()
        if item in mine
    ]
    return Helpfulness(outputs, annotations)


def read_annotated(run: Path, annotator: str | None = None) -> list[Annotation]:
    """The annotations of a run; at least one.

    Raises:
        BadInput: it holds none, or as :func:`read_helpfulness`.
    """
    found = read_helpfulness(run, annotator).annotations
    if not found:
        raise BadInput(
            f"{run} holds no annotations; evaluate with --annotator or import some first."
        )
    return found


def _annotator(run: Path, names: set[str]) -> str | None:
    try:
        found = read_results(run / "results.json").helpfulness
    except BadInput:
        found = None
    if found is not None and found.annotator in names:
        return found.annotator
    if len(names) > 1:
        raise BadInput(
            f"{run} holds annotations of {len(names)} annotators, {', '.join(sorted(names))}; name "
            "one with --annotator."
        )
    return next(iter(names), None)


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def export_helpfulness(
    run: Path, output: Path, annotator: str | None = None, force: bool = False
) -> list[Path]:
    """Writes ``model_outputs.json`` and, where there are any, ``annotations.json``.

    Args:
        output: folder of the files.
        force: replace files that are there.

    Raises:
        BadInput: nothing to export, or the files exist or cannot be written.
    """
    found = read_helpfulness(run, annotator)
    texts = {"model_outputs.json": write_outputs(found.outputs)}
    if found.annotations:
        texts["annotations.json"] = write_annotations(found.annotations)
    with atomic_folder(output, force) as folder:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    return [output / name for name in texts]
