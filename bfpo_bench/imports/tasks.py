"""Which task the answers in a file are of, and which item each of them is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.data import Row
from bfpo_bench.data.source import named_by_content
from bfpo_bench.imports.answers import Answer, Log
from bfpo_bench.imports.json_lines import question_of
from bfpo_bench.imports.options import ImportOptions
from bfpo_bench.suites import Suite, SuiteTask, load_suite, suite_names, task_names
from bfpo_bench.tasks.catalog import source_of
from bfpo_bench.tasks.requests import load_tasks

OWN_SUITE = "imported"
"""The suite of prompts that are of no suite."""

Item = tuple[str, int, Row]
"""Id, position and row."""

Placed = tuple[Answer, str, int, Row]
"""An answer with its item's id, position and row."""


@dataclass(frozen=True)
class Imported:
    """A task of an imported run.

    Attributes:
        items: id, position and row of each answer that is taken, None of one that is not, in the
            order of the files.
        source: where the rows come from, as results say it.
        metrics: of a scored task.
        marks: what must be known of its number.
    """

    suite: Suite
    spec: SuiteTask
    logs: tuple[Log, ...]
    items: tuple[Item | None, ...]
    source: dict[str, str | int | None]
    metrics: tuple[str, ...]
    marks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.spec.task

    @property
    def size(self) -> int:
        """How many answers are taken."""
        return sum(item is not None for item in self.items)

    def answers(self) -> Iterator[Placed]:
        """The answers that are taken."""
        every = (answer for log in self.logs for answer in log.answers())
        for answer, item in zip(every, self.items, strict=False):
            if item is not None:
                yield answer, *item

    def identity(self) -> dict[str, Any]:
        """Its part of the run's identity: what is known of how it was asked."""
        # Of files that say other things nobody knows which was asked how.
        drawn = {
            name: value
            for name, value in self.logs[0].sampling.items()
            if all(log.sampling.get(name) == value for log in self.logs)
        }
        return {
            "version": self.spec.version,
            "metric": self.spec.metric,
            "chat_template": self.spec.chat_template,
            **({"generation": drawn} if drawn else {}),
            **({} if self.spec.packaged else {"prompts": self.spec.prompts}),
        }

    def data(self) -> dict[str, Any]:
        """The same of its source."""
        return {part: self.source[part] for part in ("variant", "digest")}


def find_tasks(logs: Sequence[Log], options: ImportOptions) -> list[Imported]:
    """The tasks of all files, with every answer looked at once.

    Raises:
        BadInput: an answer is not what it should be, or of none of the task's items; or there are
            tasks of several suites.
    """
    ours: dict[str, str] = {}
    together: dict[str, list[Log]] = {}
    for log in logs:
        if log.task not in ours:
            ours[log.task] = _free(_plain(log.task), ours.values())
        together.setdefault(options.task or ours[log.task], []).append(log)
    found = [_task(name, tuple(some), options) for name, some in together.items()]
    suites = {task.suite.name: task.name for task in found}
    if len(suites) > 1:
        (one, first), (other, second), *_ = suites.items()
        raise BadInput(
            f"{first} is of suite {one} and {second} of {other}; import them into a run each."
        )
    return found


def _task(plain: str, logs: tuple[Log, ...], options: ImportOptions) -> Imported:
    name = logs[0].task
    if options.task is not None:
        return _looked_up(logs, *_of_a_suite(options.task, options.suite), options)
    if name in task_names() and any(answer.row is not None for answer in _answers(logs)):
        return _with_rows(logs, *_of_a_suite(name, options.suite))
    return _own(plain, logs, options)


def _answers(logs: Iterable[Log]) -> Iterator[Answer]:
    return (answer for log in logs for answer in log.answers())


def _of_a_suite(task: str, suite: str | None) -> tuple[Suite, SuiteTask]:
    """A suite and the task of it."""
    names = [name for name in suite_names() if not load_suite(name).demonstration]
    names.sort(key=lambda name: name != "paper")
    whole = [load_suite(name) for name in ([suite] if suite else names)]
    for one in whole:
        for spec in one.everything:
            if spec.task in (task, f"bfpo_{task}"):
                if spec.metric == "win_rate":
                    raise BadInput(
                        f"an annotator compares the responses to {spec.task}, and no judge does; "
                        "import them with `bfpo-bench helpfulness import`."
                    )
                return one, spec
    known = [spec.task for one in whole for spec in one.tasks]
    raise unknown_name("task", task, known)


def _looked_up(
    logs: tuple[Log, ...], suite: Suite, spec: SuiteTask, options: ImportOptions
) -> Imported:
    """A task whose items are found by their prompts."""
    if not spec.judged:
        raise BadInput(
            f"{spec.task} is scored by log-likelihoods and asks for no responses; name a task that "
            "a judge decides with --task, or leave it out."
        )
    [task] = load_tasks(replace(suite, tasks=(spec,), helpfulness=None), options.data_dir)
    rows = task.loaded.rows
    places: dict[str, list[int]] = {}
    for position, row in enumerate(rows):
        # AdvBench's goals are asked with a full stop and a blank here, and as they are elsewhere.
        for text in dict.fromkeys((question_of(row), row.get("goal"))):
            if isinstance(text, str):
                places.setdefault(text.strip(), []).append(position)
    items: list[Item | None] = []
    taken_places: set[int | None] = set()
    for answer in _answers(logs):
        if not answer.given:
            items.append(None)
            continue
        there = places.get(answer.question.strip())
        if there is None:
            raise BadInput(
                f"{answer.where}: its prompt ({answer.question.strip()!r:.60}) is none of "
                f"{spec.task}; leave --task out to import these prompts as a column of their own."
            )
        place = next((place for place in there if place not in taken_places), None)
        taken_places |= {place}
        items.append(None if place is None else (task.ids[place], place, rows[place]))
    taken = [item for item in items if item is not None]
    _require(taken, logs)
    loaded = task.loaded
    source: dict[str, str | int | None] = {
        "name": loaded.source,
        "variant": loaded.variant,
        "where": loaded.where,
        "rows": len(rows),
        "digest": loaded.digest,
        "status": loaded.status,
    }
    marks = [] if suite.demonstration else list(loaded.marks)
    if len(taken) < len(rows):
        digest = source_of(spec).digest(row for _, _, row in taken)
        source |= {"rows": len(taken), "digest": digest, "status": "differs"}
        marks.append(f"answers to {len(taken)} of its {len(rows)} items")
    marks += _left_out(logs, items)
    return Imported(suite, spec, logs, tuple(items), source, (), tuple(marks))


def _with_rows(logs: tuple[Log, ...], suite: Suite, spec: SuiteTask) -> Imported:
    """A task of ours whose items stand in the file."""
    items: list[Item | None] = []
    seen: set[str] = set()
    metrics: tuple[str, ...] = ()
    for number, answer in enumerate(_answers(logs)):
        if (
            answer.item is None
            or answer.row is None
            or spec.judged != (answer.response is not None)
        ):
            raise BadInput(f"{answer.where} is no sample of {spec.task}; log it again.")
        if not spec.judged:
            metrics = metrics or tuple(answer.metrics)
            if spec.metric not in metrics or metrics != tuple(answer.metrics):
                raise BadInput(f"{answer.where} lacks the metric {spec.metric}; log it again.")
        place = number if answer.position is None else answer.position
        items.append(None if answer.item in seen else (answer.item, place, dict(answer.row)))
        seen.add(answer.item)
    taken = [item for item in items if item is not None]
    _require(taken, logs)
    source = source_of(spec)
    try:
        digest = source.digest(row for _, _, row in taken)
    except (LookupError, TypeError, ValueError) as error:
        raise BadInput(
            f"{logs[0].path} holds rows of {spec.task} that are not its source's ({error!r}); log "
            "them again."
        ) from error
    whole = [variant for variant in source.variants if variant.digest == digest]
    marks = []
    if not whole:
        pinned = source.default.rows or 0
        part = f"answers to {len(taken)} of its {pinned} items"
        marks.append(part if len(taken) < pinned else f"{source.name} is not the pinned data")
    elif whole[0] is not source.default:
        marks.append(f"{source.name} is {whole[0].note}.")
    about: dict[str, str | int | None] = {
        "name": source.name,
        "variant": (whole or [source.default])[0].name,
        "where": str(logs[0].path),
        "rows": len(taken),
        "digest": digest,
        "status": "pinned" if whole else "differs",
    }
    marks += _left_out(logs, items)
    return Imported(suite, spec, logs, tuple(items), about, metrics, tuple(marks))


def _own(name: str, logs: tuple[Log, ...], options: ImportOptions) -> Imported:
    """Prompts that are a column of their own, in no average."""
    if options.suite is not None:
        raise BadInput(
            f"{logs[0].path} does not say which task of suite {options.suite} its prompts are of; "
            "name it with --task, or leave --suite out to import them as a column of their own."
        )
    asked: list[str | None] = []
    for answer in _answers(logs):
        if answer.choices:
            raise BadInput(
                f"{answer.where} holds log-likelihoods of {logs[0].task}, which is no task of "
                "bfpo-bench; only responses of other tasks can be imported."
            )
        asked.append(answer.question if answer.given else None)
    lines = [line for line in asked if line is not None]
    ids = named_by_content(json.dumps(line).encode("ascii") for line in lines)
    rows = [{"prompt": line} for line in lines]
    _require(rows, logs)
    named = zip(ids, range(len(ids)), rows, strict=True)
    items = tuple(None if line is None else next(named) for line in asked)
    digest = hashlib.sha256("\n".join(sorted(map(json.dumps, lines))).encode("ascii")).hexdigest()
    source: dict[str, str | int | None] = {
        "name": f"imported_{name}",
        "variant": OWN_SUITE,
        "where": str(logs[0].path),
        "rows": len(rows),
        "digest": digest,
        "status": "unverified",
    }
    spec = SuiteTask(
        task=f"imported_{name}",
        column=name,
        group="apart",
        metric="harmless",
        direction="higher",
        chat_template=True,
        generation=None,
        version=1,
        prompts=options.prompts,
        source=str(source["name"]),
        file=Path(OWN_SUITE),
    )
    suite = Suite(OWN_SUITE, 1, "real", "", (spec,))
    marks = _left_out(logs, items)
    if (prompts := len(set(lines))) < len(lines):
        # Epochs, or several answers drawn: alike where a model is sure of what it says.
        marks.append(
            f"its interval takes the {len(lines)} answers as independent, and they are to "
            f"{prompts} prompts"
        )
    return Imported(suite, spec, logs, items, source, (), tuple(marks))


def _plain(name: str) -> str:
    """A foreign name as one of ours."""
    if name in task_names():
        return name
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:60] or "prompts"


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or the first of its followers that no other task has: ``prompts_2``."""
    names = (f"{name}_{number}" if number > 1 else name for number in count(1))
    return next(one for one in names if one not in taken)


def _require(items: Sequence[Item | Row], logs: Sequence[Log]) -> None:
    if not items:
        raise BadInput(f"{logs[0].path} holds no answers; give a file with some.")


def _left_out(logs: Iterable[Log], items: Sequence[Item | None]) -> list[str]:
    """What a reader must know of answers that are not taken, or are not there."""
    without = sum(not answer.given for answer in _answers(logs)) if None in items else 0
    more = items.count(None) - without
    found = []
    if without:
        of = f"{without} of {len(items)} samples"
        found.append(f"{of} hold no answer of the model (an error, a limit) and were left out")
    if more:
        found.append(f"{more} further answers to prompts that have one were left out")
    return found
