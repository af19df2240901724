"""What the Hugging Face hub shows of a model's evaluation, as files for its repository.

``.eval_results/bfpo-bench.yaml`` has an entry for every number whose data set lies on the hub
(huggingface_hub's ``EvalResultEntry``), ``MODEL_CARD_SECTION.md`` all of them for people.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.files import atomic_folder
from bfpo_bench.export.place import folder_of
from bfpo_bench.export.samples import RunSamples
from bfpo_bench.run.marks import refusals_by, verdicts_by
from bfpo_bench.run.results import Results, TaskResult
from bfpo_bench.run.table import interval_text, items_text, markdown
from bfpo_bench.tasks.catalog import all_sources

if TYPE_CHECKING:
    from huggingface_hub import EvalResultEntry

RESULTS = Path(".eval_results", "bfpo-bench.yaml")
SECTION = "MODEL_CARD_SECTION.md"


def write_hub(run: RunSamples, output: Path | None, force: bool) -> tuple[Path, int]:
    """Writes both files into a folder; returns it and how many numbers they hold.

    Of numbers whose data set is not on the hub there are no entries, which the run's notes say;
    without any there is no file of them.

    Raises:
        BadInput: the run has no results or no number yet, or is a demonstration.
    """
    import yaml
    from huggingface_hub import eval_result_entries_to_yaml

    results = run.require_results()
    if results.suite.get("demonstration"):
        raise BadInput(
            f"{run.path} is of suite {run.suite}, a few bundled items that measure nothing, and is "
            "not for a model's page; evaluate with --suite paper or balance."
        )
    folder = folder_of(run.path, "hub", output)
    found = list(entries(run, results))
    numbers = {cell.task: cell for cell in results.tasks.values() if cell.score is not None}
    if not numbers and not results.also and results.helpfulness is None:
        raise run.no_number("a model's page")
    elsewhere = [numbers[task].column for task in numbers.keys() - {one.task_id for one in found}]
    if elsewhere:
        run.remarks.append(
            f"The hub has no data set for {', '.join(sorted(elsewhere))}: {SECTION} shows the "
            f"number, and {RESULTS} has no entry."
        )
    with atomic_folder(folder, force) as temporary:
        if found:
            (temporary / RESULTS.parent).mkdir()
            text = yaml.safe_dump(eval_result_entries_to_yaml(found), sort_keys=False)
            (temporary / RESULTS).write_text(text, encoding="ascii")
        (temporary / SECTION).write_text(section(results), encoding="utf-8")
    return folder, len(numbers)


def entries(run: RunSamples, results: Results) -> Iterator[EvalResultEntry]:
    """An entry for every task with a number whose rows are a data set of the hub."""
    from huggingface_hub import EvalResultEntry

    for cell in results.tasks.values():
        source = all_sources().get(str(cell.source.get("name")))
        variants = source.variants if source is not None else ()
        hub = next((v.hub for v in variants if v.name == cell.source.get("variant")), None)
        if cell.score is not None and hub is not None:
            yield EvalResultEntry(
                dataset_id=hub.repo,
                dataset_revision=hub.revision,
                task_id=cell.task,
                value=round(cell.score, 4),
                date=run.date.strftime("%Y-%m-%dT%H:%M:%SZ"),
                notes=_notes(results, cell),
            )


def _notes(results: Results, cell: TaskResult) -> str:
    """Without which the number must not be read: in percent of what, by whom, and what is off."""
    between = interval_text(cell.low, cell.high)
    said = [
        f"{cell.metric}, percent of {items_text(cell)} items",
        *([f"95 % interval {between}"] if between else []),
        f"bfpo-bench {results.bfpo_bench}, suite {results.suite['name']} "
        f"{results.suite.get('version')}",
    ]
    if cell.metric == "harmless" and results.judge is not None:
        said.append(verdicts_by(results.judge))
    if cell.metric == "answered" and results.refusal_judge is not None:
        said.append(refusals_by(results.refusal_judge))
    titled = f"{cell.column}: "
    general = [mark for mark in results.marks if not _of_a_task(results, mark)]
    own = [mark.removeprefix(titled) for mark in results.marks if mark.startswith(titled)]
    return "; ".join([*said, *own, *general])


def _of_a_task(results: Results, mark: str) -> bool:
    return mark.startswith(tuple(f"{cell.column}: " for cell in results.tasks.values()))


def section(results: Results) -> str:
    """The section of a model card: the run's own table one level below the card's title."""
    _, _, table = markdown(results).partition("\n")
    return f"## Safety and helpfulness\n{table}"
