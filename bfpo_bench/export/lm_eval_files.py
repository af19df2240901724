"""Samples and results in the files that lm-eval writes with ``--log_samples --output_path``.

The layout is that of lm-eval 0.4.13 (``lm_eval/evaluator.py`` and
``lm_eval/loggers/evaluation_tracker.py``): a folder named after the model, in it
``results_<date>.json`` and one ``samples_<task>_<date>.jsonl`` per task. What depends on a task's
rules (target, metrics, configuration) is asked of lm-eval's own task objects.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.files import atomic_folder
from bfpo_bench.common.loggers import errors_only
from bfpo_bench.export.lm_eval_results import TaskSummary, results_file
from bfpo_bench.export.place import folder_of, place_name
from bfpo_bench.export.samples import RunSamples, Sample
from bfpo_bench.export.tables import json_line, verdict_rows
from bfpo_bench.suites import TASKS_FOLDER, task_names
from bfpo_bench.tasks.catalog import find_source

HARMLESS = "harmless"
"""Metric added to judged tasks: the verdict of the run's own judge; lm-eval has none there."""


def write_lm_eval(run: RunSamples, output: Path | None, force: bool) -> tuple[Path, int]:
    """Writes the model's folder under ``output``; returns it and the number of samples.

    Another run's files in it stay, as lm-eval's own do: all names hold the run's date.
    """
    from lm_eval.utils import sanitize_model_name

    folder = folder_of(run.path, "lm-eval", output) / place_name(sanitize_model_name(run.model))
    when = run.date
    date_id = when.replace(tzinfo=None).isoformat(timespec="microseconds").replace(":", "-")
    summaries: dict[str, TaskSummary] = {}
    with atomic_folder(folder, force or _has_room(folder, date_id)) as temporary:
        for task, loaded in _load_tasks(run).items():
            path = temporary / f"samples_{task}_{date_id}.jsonl"
            summary = _write_samples(run, task, loaded, path)
            if summary.samples:
                summaries[task] = summary
            else:
                path.unlink()
        if not summaries:
            raise BadInput(
                f"{run.path} holds no item whose choices are all scored yet; run the same evaluate "
                "command again, or export it with --format jsonl."
            )
        content = results_file(run, summaries, when)
        text = json.dumps(content, indent=2, default=_plain)
        (temporary / f"results_{date_id}.json").write_text(text, encoding="ascii")
    return folder, sum(summary.samples for summary in summaries.values())


def _has_room(folder: Path, date: str) -> bool:
    """Whether lm-eval would put files of that date beside what a model's folder holds."""
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return all(_THEIRS.fullmatch(name) and date not in name for name in names)


_THEIRS = re.compile(r"(results_.*\.json|samples_.*\.jsonl)")


def _load_tasks(run: RunSamples) -> dict[str, Any]:
    """lm-eval's task objects, set up as the run's tasks were."""
    for task in run.tasks:
        if task not in task_names():
            raise BadInput(
                f"{run.path} holds {task!r}, which is no task of this bfpo-bench, and lm-eval's "
                "files need its rules; export the run with --format jsonl."
            )
    from lm_eval.tasks import TaskManager

    # A task object wants rows when it is built. The bundled ones are always at hand; the samples'
    # own rows are in the run.
    # lm-eval says once per task that it takes metadata; ours would call the rows a demonstration.
    with errors_only("lm_eval", "bfpo_bench.tasks"):
        manager = TaskManager(
            include_path=str(TASKS_FOLDER), include_defaults=False, metadata={"mini": True}
        )
        tasks: dict[str, Any] = manager.load(list(run.tasks))["tasks"]
    for name, task in tasks.items():
        version = run.tasks[name].get("version")
        if version != task.VERSION:
            raise BadInput(
                f"{run.path} holds version {version} of {name}, this bfpo-bench knows version "
                f"{task.VERSION}; export it with --format jsonl, or with the bfpo-bench of the run."
            )
        _set_up(task, name, run)
    return {name: tasks[name] for name in run.tasks}


def _set_up(task: Any, name: str, run: RunSamples) -> None:
    task.set_config("num_fewshot", 0)
    source = task.get_config("dataset_kwargs")["source"]
    variant = (run.content["identity"].get("data") or {}).get(source, {}).get("variant")
    if variant != "mini":
        metadata = {k: v for k, v in task.get_config("metadata").items() if k != "mini"}
        task.set_config("metadata", {**metadata, "variants": {source: variant}})
    generation = run.tasks[name].get("generation")
    if generation is not None:
        task.set_config("generation_kwargs", _generation_kwargs(generation))


def _generation_kwargs(generation: dict[str, Any]) -> dict[str, Any]:
    """The run's sampling in lm-eval's words."""
    kwargs: dict[str, Any] = {}
    # An imported run holds only what another tool's files have said.
    if (temperature := generation.get("temperature")) is not None:
        kwargs = {"do_sample": temperature > 0, "temperature": temperature}
        if temperature > 0 and generation.get("top_p", 1) < 1:
            kwargs["top_p"] = generation["top_p"]
    theirs = {"max_new_tokens": "max_gen_toks", "stop": "until"}
    return kwargs | {theirs[name]: generation[name] for name in theirs if name in generation}


def _write_samples(run: RunSamples, name: str, task: Any, path: Path) -> TaskSummary:
    source = task.get_config("dataset_kwargs")["source"]
    judge = run.judge
    summary = TaskSummary(task)
    with path.open("w", encoding="ascii", newline="\n") as file:
        for stored in run.of(name):
            doc = document(source, stored.row, stored.item.item)
            try:
                sample = _scored(task, doc, stored) if stored.scores else _judged(task, doc, stored)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise BadInput(
                    f"{run.path}: item {stored.item.item} of {name} is none that lm-eval's files "
                    f"can hold ({error!r}); export the run with --format jsonl."
                ) from error
            if sample is None:
                run.unanswered += 1
                continue
            if stored.response is not None:
                about = {name: getattr(stored.response, name) for name in ("thought", "no_answer")}
                sample |= {name: text for name, text in about.items() if text is not None}
                _add_verdicts(sample, stored, judge)
            summary.add(sample)
            file.write(json_line(sample, default=_plain))
    return summary


def document(source: str, row: dict[str, Any], item: str) -> dict[str, Any]:
    """The row as lm-eval's document: fields in the order of their source, then the item's id."""
    order = [name for name in find_source(source).fields if name in row]
    return {**{name: row[name] for name in [*order, *row]}, "item_id": item}


def _scored(task: Any, doc: dict[str, Any], stored: Sample) -> dict[str, Any] | None:
    """A sample of a multiple-choice task; None while some of its choices are not scored."""
    if len(stored.scores) != len(task.doc_to_choice(doc)):
        return None
    arguments = [(score.context, score.continuation) for score in stored.scores]
    answers = [(score.loglikelihood, score.is_greedy) for score in stored.scores]
    return _sample(task, doc, stored, arguments, answers)


def _judged(task: Any, doc: dict[str, Any], stored: Sample) -> dict[str, Any]:
    """A sample of a generative task."""
    assert stored.response is not None
    arguments = [(stored.response.prompt, task.get_config("generation_kwargs"))]
    return _sample(task, doc, stored, arguments, [stored.response.response])


def _sample(
    task: Any, doc: dict[str, Any], stored: Sample, arguments: list[Any], answers: list[Any]
) -> dict[str, Any]:
    from lm_eval.utils import sanitize_list

    metrics = task.process_results(doc, answers)
    target = str(task.doc_to_target(doc))
    return {
        "doc_id": stored.item.position,
        "doc": doc,
        "target": target,
        "arguments": {
            f"gen_args_{i}": {f"arg_{j}": part for j, part in enumerate(parts)}
            for i, parts in enumerate(arguments)
        },
        "resps": sanitize_list([[answer] for answer in answers]),
        "filtered_resps": sanitize_list(answers),
        "filter": "none",
        "metrics": list(metrics),
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(arguments[0][0]),
        "target_hash": _hash(target),
        **metrics,
    }


def _add_verdicts(sample: dict[str, Any], stored: Sample, judge: str | None) -> None:
    own = [verdict for verdict in stored.verdicts if verdict.judge == judge]
    if own:
        sample["metrics"].append(HARMLESS)
        # An unknown verdict is not harmless.
        sample[HARMLESS] = float(own[-1].harmful is False)
    sample["verdicts"] = verdict_rows(stored)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _plain(value: Any) -> Any:
    """numpy's numbers and truth values as Python's; anything else as text, as lm-eval does."""
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)
