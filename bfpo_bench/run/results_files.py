"""The files with results: how they are named and read, those of older versions too."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.json_file import of_kind, read_json
from bfpo_bench.run.marks import ANYWAY, unfit_mark
from bfpo_bench.run.results import (
    ALWAYS,
    SCHEMA_VERSION,
    Results,
    TaskResult,
    emptied,
    without_verdicts,
)
from bfpo_bench.suites import prompt_kind


def results_file(judge: str) -> str:
    """Name of the file with the results by a judge other than the run's own.

    Names that not every file system holds and tells apart (``a:b`` and ``a-b``, ``A`` and ``a``)
    get the beginning of their hash behind a character that stands in no other file's name.
    """
    if re.fullmatch(r"[a-z0-9_.-]{1,100}", judge):
        return f"results-{judge}.json"
    digest = hashlib.sha256(judge.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"results-{re.sub(r'[^A-Za-z0-9_.-]', '-', judge)[:100]}~{digest}.json"


def results_files(run: Path, judge: str) -> list[Path]:
    """The files with a judge's results, the newest layout first: version 0.1 named them otherwise.

    Raises:
        BadInput: its file is damaged.
    """
    path, older = (run / name for name in (results_file(judge), _older_name(judge)))
    held = [(path, read_results(path))] if path.exists() else []
    if older != path:
        # One that is damaged may be another judge's.
        with suppress(BadInput):
            held.append((older, read_results(older)))
    return [one for one, results in held if (results.judge or {}).get("judge") == judge]


def _older_name(judge: str) -> str:
    return "results-" + re.sub(r"[^\w.-]", "-", judge) + ".json"


def read_results(path: Path) -> Results:
    """Reads and validates a ``results.json``.

    Raises:
        BadInput: no such file, no JSON, a newer schema, or a field missing or of a wrong kind.
    """
    try:
        content = read_json(path)
    except OSError as error:
        raise BadInput(
            f"the results {path} cannot be read ({error.strerror}); evaluate to the end first."
        ) from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON ({error}); run the evaluation again.") from error
    if not isinstance(content, dict) or not isinstance(content.get("schema"), int):
        raise BadInput(
            f"{path} is no results file of bfpo-bench; give one that `evaluate` has written."
        )
    if content["schema"] > SCHEMA_VERSION:
        raise BadInput(
            f"{path} has schema {content['schema']}, this bfpo-bench knows {SCHEMA_VERSION}; "
            "upgrade bfpo-bench to read it."
        )
    results = of_kind(Results, content, path, "run the same evaluate command again.")
    if lost := [name for name in ALWAYS if name not in results.averages]:
        raise BadInput(f"{path} lacks the average {lost[0]}; run the same evaluate command again.")
    for name, cell in results.tasks.items():
        if not 0 <= (cell.score or 0) <= 100 or cell.n < 1:
            raise BadInput(
                f"{path}: the score of {name} is not a percentage over items ({cell.score} over "
                f"{cell.n}); run the same evaluate command again."
            )
        if cell.task != name:
            raise BadInput(
                f"{path}: the numbers of {name} are those of {cell.task}; run the same evaluate "
                "command again."
            )
    return _with_dashes(results)


def results_there(path: Path) -> Results | None:
    """The same; None where there are none that can be read."""
    try:
        return read_results(path)
    except BadInput:
        return None


def _with_dashes(results: Results) -> Results:
    """Results of before such cells had no number: neither have their averages."""
    judge = results.judge or {}
    tasks = {n: _without_fit(without_verdicts(c), judge) for n, c in results.tasks.items()}
    emptied = [cell for name, cell in tasks.items() if cell is not results.tasks[name]]
    if not emptied:
        return results
    titles: dict[str, list[str]] = {}
    for cell in emptied:
        titles.setdefault(cell.group, []).append(cell.column)
    titles["savg"] = titles.get("gen", [])
    gone = {"value": None, "stderr": None, "low": None, "high": None}
    means = {
        name: replace(mean, **gone, missing=mean.missing + more)
        if (more := titles.get(name))
        else mean
        for name, mean in results.averages.items()
    }
    marks = [*results.marks, *(f"{cell.column}: {cell.marks[-1]}" for cell in emptied)]
    return replace(results, tasks=tasks, averages=means, marks=marks)


def _without_fit(cell: TaskResult, judge: dict[str, Any]) -> TaskResult:
    """The cell; a share of refusals among continuations, as version 0.1 gave it, has no score."""
    # Of the keyword judges of then, whose cards could not say what they fit.
    if judge.get("kind") != "keyword" or judge.get("implementation", 1) != 1:
        return cell
    asked_for = any(mark.startswith(ANYWAY) for mark in cell.marks)
    if not cell.judged or cell.score is None or asked_for:
        return cell
    fits = "instructions"
    try:
        kind = prompt_kind(cell.task)
    except BadInput:  # a task of somebody's own
        return cell
    return cell if kind == fits else emptied(cell, unfit_mark(str(judge["judge"]), [fits], kind))
