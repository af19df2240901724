"""A run made again of the logs that ``bfpo-bench export --format inspect`` has written of it.

Items, answers, verdicts and outcomes are those of the run, under the keys that they had, so that
commands which go on with a run go on with this one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.json_file import of_kind
from bfpo_bench.common.validate import validated
from bfpo_bench.export.inspect_log import OWN_SCHEMA
from bfpo_bench.export.inspect_samples import OURS
from bfpo_bench.imports.inspect_log import Sample, header, samples
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.renewed import renewed
from bfpo_bench.run.results import Results
from bfpo_bench.run.run_json import checked_evaluation
from bfpo_bench.run.store import (
    AnnotationRecord,
    ItemRecord,
    OutcomeRecord,
    ResponseRecord,
    ScoreRecord,
    Store,
    VerdictRecord,
)
from bfpo_bench.run.table import markdown

_ADVICE = "export the run again."

T = TypeVar("T")


@dataclass(frozen=True)
class Kept:
    """What logs of one run say of it.

    Attributes:
        logs: their files by task, and what they hold where they are JSON as a whole.
        content: of its ``run.json``.
        results: of its ``results.json``; None where it was not finished.
    """

    logs: dict[str, tuple[Path, Any]]
    content: dict[str, Any]
    results: Results | None

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.content["identity"]["model"]["name"])


def read_kept(found: Sequence[tuple[Path, Any, dict[str, Any]]]) -> Kept:
    """What our own logs hold, checked.

    Args:
        found: files, what they hold where they are JSON as a whole, and what stands under our key
            in their headers.

    Raises:
        BadInput: one is of a newer version or damaged, or they are not of one run.
    """
    logs: dict[str, tuple[Path, Any]] = {}
    begin, _, first = found[0]
    for path, whole, kept in found:
        schema = kept.get("schema")
        if isinstance(schema, int) and schema > OWN_SCHEMA:
            raise BadInput(
                f"{path} was written by a newer bfpo-bench (schema {schema}, this one knows "
                f"{OWN_SCHEMA}); upgrade bfpo-bench to read it."
            )
        if kept.get("run") != first.get("run") or kept.get("results") != first.get("results"):
            raise BadInput(
                f"{path} and {begin} are of different runs; import each run's logs by themselves."
            )
        task = header(path, whole).eval.task
        if task in logs:
            raise BadInput(f"{path} and {logs[task][0]} both hold {task}; give one of them.")
        logs[task] = path, whole
    content = checked_evaluation(first.get("run"), begin)
    told = first.get("results")
    results = None if told is None else of_kind(Results, told, begin, _ADVICE)
    return Kept(logs, content, results)


BATCH = 500
"""Samples that are written at once."""


def restore(kept: Kept, place: Path) -> int:
    """Makes the run directory; returns how many samples it holds.

    Raises:
        BadInput: a log is damaged.
    """
    count = 0
    with RunDirectory(place, kept.content["identity"]) as run:
        with run.open_store() as store:
            for task, (path, whole) in kept.logs.items():
                with samples(path, whole) as found:
                    while batch := list(islice(found, BATCH)):
                        count += len(batch)
                        _store(store, task, path, batch)
            results = None if kept.results is None else _results(kept, kept.results, store)
        for session in kept.content["sessions"]:
            run.record_session(session)
        if results is not None:
            run.write_text("table.md", markdown(results))
            run.write_text(run.results_path.name, results.to_json())
    return count


def _results(kept: Kept, before: Results, store: Store) -> Results:
    """The run's results, as far as its tasks are there."""
    marks = [*before.marks, "made again of logs of inspect_ai, with the verdicts that they hold"]
    asked = kept.content["identity"]["tasks"]
    helpful = any(asked.get(task, {}).get("metric") == "win_rate" for task in kept.logs)
    gone = [task for task in before.tasks if task not in kept.logs]
    if before.also:
        marks.append("lm-eval's own tasks, which no log holds, were left out")
    if before.helpfulness is not None and not helpful:
        marks.append("the Alpaca column, whose log was not given, was left out")
    found = replace(
        before,
        marks=marks,
        also={},
        helpfulness=before.helpfulness if helpful else None,
        answered=before.answered if helpful else {},
    )
    if not gone:
        return found
    cells = {task: cell for task, cell in before.tasks.items() if task in kept.logs}
    try:
        tasks, averages = renewed(before, cells, store)
    except (ArithmeticError, ValueError) as error:
        [(path, _), *_] = kept.logs.values()
        raise BadInput(f"{path} is not what was exported ({error!r}); {_ADVICE}") from error
    return replace(found, tasks=tasks, averages=averages)


def _store(store: Store, task: str, path: Path, batch: Sequence[tuple[str, Sample]]) -> None:
    """Writes all that samples say of their items."""
    found: dict[type[Any], list[Any]] = {kind: [] for kind in _WRITERS}
    for name, sample in batch:
        where = f"{path}, {name}"
        kept = sample.metadata.get(OURS)
        if not isinstance(kept, dict) or not isinstance(kept.get("item"), str):
            raise BadInput(f"{where} says nothing of its item under {OURS!r}; {_ADVICE}")
        of = {"task": task, "item": kept["item"]}
        try:
            for kind, content in _records(sample, kept):
                found[kind].append(_record(kind, {**content, **of}, where))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise BadInput(f"{where} is not what was exported ({error!r}); {_ADVICE}") from error
    for kind, records in found.items():
        try:
            _WRITERS[kind](store, records)
        except OverflowError as error:
            raise BadInput(f"{path} is not what was exported ({error}); {_ADVICE}") from error


_WRITERS: dict[type[Any], Callable[[Store, list[Any]], None]] = {
    ItemRecord: Store.add_items,
    ScoreRecord: Store.add_scores,
    ResponseRecord: Store.add_responses,
    VerdictRecord: Store.add_verdicts,
    AnnotationRecord: Store.add_annotations,
    OutcomeRecord: Store.add_outcomes,
}


def _records(sample: Sample, kept: dict[str, Any]) -> Iterator[tuple[type[Any], dict[str, Any]]]:
    """The contents of an item's records, but for task and item."""
    row = {name: value for name, value in sample.metadata.items() if name != OURS}
    text = json.dumps(row, sort_keys=True)
    yield ItemRecord, {"position": kept.get("position"), "row": text}
    for one in kept.get("choices") or ():
        yield ScoreRecord, {**one, "loglikelihood": _log(one)}
    if kept.get("response") is not None:
        yield ResponseRecord, {**kept["response"], **_said(sample)}
    for kind, name in ((VerdictRecord, "verdicts"), (AnnotationRecord, "annotations")):
        for one in kept.get(name) or ():
            yield kind, one
    for metric, value in (kept.get("metrics") or {}).items():
        yield OutcomeRecord, {"metric": metric, "value": value}


def _log(choice: dict[str, Any]) -> Any:
    """The logarithm of no chance at all is no JSON number."""
    value = choice.get("loglikelihood")
    return float("-inf") if value is None else value


def _said(sample: Sample) -> dict[str, Any]:
    """Question, response and thought, which stand in the log's own fields."""
    content = sample.output.choices[0].message.content
    thought = None
    if not isinstance(content, str):
        thought = next(
            (one["reasoning"] for one in content if one.get("type") == "reasoning"), None
        )
    return {"question": sample.input, "response": sample.text(content), "thought": thought}


def _record(kind: type[T], content: Mapping[str, Any], where: str) -> T:
    names: Sequence[str] = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    known = {name: content[name] for name in names if name in content}
    return validated(kind, known, where)
