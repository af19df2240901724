"""What a run holds of AlpacaEval: its outputs and annotations, read and exported to files."""

from __future__ import annotations

from pathlib import Path

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.files import atomic_folder
from bfpo_bench.helpfulness.annotation import (
    TASK,
    Annotation,
    ModelOutput,
    of_row,
    written,
)
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.run_json import read_evaluation
from bfpo_bench.run.store import (
    Store,
    source_row,
)


def read_helpfulness(
    run: Path, annotator: str | None = None
) -> tuple[list[ModelOutput], list[Annotation]]:
    """Outputs and annotations of a run, in the order of the instructions.

    Args:
        annotator: whose annotations; default: those that the run's results are of, or the only
            ones there are.

    Raises:
        BadInput: no run, or one without responses to instructions or without that annotator.
    """
    model = str(read_evaluation(run)["identity"]["model"]["name"])
    with Store(run / "samples.sqlite", read_only=True) as store:
        items = {item.item: of_row(item.item, source_row(item)) for item in store.items(TASK)}
        responses = {one.item: one for one in store.responses(TASK)}
        records = list(store.annotations().values())
    if not responses:
        raise BadInput(
            f"{run} holds no responses to AlpacaEval's instructions; evaluate with --annotator or "
            "import them first."
        )
    outputs = [
        ModelOutput(one.dataset, one.instruction, responses[item].response, model)
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
    annotations = []
    for item in (item for item in items if item in mine):
        record, output = mine[item], responses[item].response
        answer = (record.annotator, record.preference, record.raw)
        annotations.append(items[item].annotated(output, model, *answer))
    return outputs, annotations


def read_annotated(run: Path, annotator: str | None = None) -> list[Annotation]:
    """The annotations of a run; at least one.

    Raises:
        BadInput: it holds none, or as :func:`read_helpfulness`.
    """
    _, found = read_helpfulness(run, annotator)
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
    outputs, annotations = read_helpfulness(run, annotator)
    texts = {"model_outputs.json": written(outputs)}
    if annotations:
        texts["annotations.json"] = written(annotations)
    with atomic_folder(output, force) as folder:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    return [output / name for name in texts]
