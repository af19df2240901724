"""`results.json`: scores, errors and averages of a run, and how they are computed.

Disc. is the plain mean of the suite's discriminative scores, Gen. that of its judged ones, Savg.
the mean of the two (Section 4 of the BFPO paper; it reproduces all its printed rows).
The file's layout is described in docs/results.md.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from bfpo_bench.errors import BadInput
from bfpo_bench.suite import SuiteTask

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class TaskResult:
    """One cell of the table.

    Attributes:
        score: percent.
        stderr: standard error of the score in percentage points, None for a single item.
        n: items the score is over; ``items`` is how many the source has.
        unknown: responses without a verdict; they count as not harmless.
        metrics: every metric of the task, in its own unit.
        cut: items whose prompt was cut on the left to fit the context window.
        source: where the rows came from: name, variant, where, rows, digest, status.
        marks: what a reader must know of this number.
    """

    task: str
    version: int
    column: str
    group: str
    metric: str
    direction: str
    score: float
    stderr: float | None
    n: int
    items: int
    unknown: int
    cut: int
    metrics: dict[str, float]
    source: dict[str, Any]
    marks: list[str]


@dataclass(frozen=True)
class Average:
    """Disc., Gen. or Savg. in percent; None while one of its parts is missing."""

    value: float | None
    stderr: float | None
    missing: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.value is None:
            return f"– ({len(self.missing)} missing)"
        return f"{self.value:.2f}" + (f" ± {self.stderr:.2f}" if self.stderr is not None else "")


@dataclass(frozen=True)
class HelpfulnessResult:
    """The Alpaca column of a run.

    Attributes:
        annotator: by whom; results of different annotators are not comparable.
        reference: the model compared with.
        n: annotated instructions, those without a usable answer among them.
        failed: annotations without a usable answer. As upstream, the means are over the others.
        mean_length: of the model's outputs, in characters.
        win_rate: in percent; None where no annotation is usable.
        standard_error: of the win rate, in percentage points: sample standard deviation over √n.
        win_low, win_high: its 95 % interval, by bootstrap over instructions.
        discrete_win_rate: share of preferences above a draw, a draw counting half, in percent.
        lc_win_rate: length-controlled win rate in percent, by our own fit; None where there is
            too little to fit.
        lc_low, lc_high: its 95 % interval, by refits to resampled instructions.
        lc_model: which model was fitted, in alpaca_eval's words; ``(rebuilt)``: with gamed
            baselines rebuilt from published numbers.
        lc_published: by the weights that AlpacaEval has published for this model and annotator.
        notes: what a reader must know of these numbers.
    """

    annotator: str
    reference: str
    n: int
    failed: int
    mean_length: float
    win_rate: float | None = None
    standard_error: float | None = None
    win_low: float | None = None
    win_high: float | None = None
    discrete_win_rate: float | None = None
    lc_win_rate: float | None = None
    lc_low: float | None = None
    lc_high: float | None = None
    lc_model: str | None = None
    lc_published: float | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Results:
    """What a run has found. ``str(results)`` is its row as text."""

    schema: int
    bfpo_bench: str
    model: dict[str, Any]
    suite: dict[str, Any]
    backend: str
    judge: dict[str, Any] | None
    seed: int
    limit: int | None
    tasks: dict[str, TaskResult]
    averages: dict[str, Average]
    marks: list[str]
    helpfulness: HelpfulnessResult | None = None

    def to_json(self) -> str:
        """The text of ``results.json``."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        titles = {"disc": "Disc.", "gen": "Gen.", "savg": "Savg."}
        cells = [f"{title} {self.averages[name]}" for name, title in titles.items()]
        return f"{self.model['name']}: {', '.join(cells)}"


def proportion(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and its standard error, in percent.

    The standard error is the sample standard deviation (n − 1) over √n, as in lm-eval; for
    values 0 and 1 it is √(p(1 − p)/(n − 1)).
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return 100 * mean, None
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    return 100 * mean, 100 * math.sqrt(variance / n)


def averages(tasks: dict[str, TaskResult], suite: Sequence[SuiteTask]) -> dict[str, Average]:
    """Disc., Gen. and Savg. with standard errors; tasks are independent samples.

    Args:
        tasks: results at hand, by task name.
        suite: every task that the averages are taken over.
    """
    found: dict[str, Average] = {}
    for group in ("disc", "gen"):
        wanted = [t for t in suite if t.group == group]
        missing = [t.column for t in wanted if t.task not in tasks]
        if missing or not wanted:
            found[group] = Average(None, None, missing)
            continue
        cells = [tasks[t.task] for t in wanted]
        value = math.fsum(c.score for c in cells) / len(cells)
        found[group] = Average(value, _error_of_mean([c.stderr for c in cells]))
    disc, gen = found["disc"], found["gen"]
    if disc.value is None or gen.value is None:
        found["savg"] = Average(None, None, disc.missing + gen.missing)
    else:
        error = _error_of_mean([disc.stderr, gen.stderr])
        found["savg"] = Average((disc.value + gen.value) / 2, error)
    return found


def _error_of_mean(errors: Sequence[float | None]) -> float | None:
    known = [e for e in errors if e is not None]
    if len(known) < len(errors):
        return None
    return math.sqrt(math.fsum(e * e for e in known)) / len(known)


def results_file(judge: str) -> str:
    """Name of the file with the results by a judge other than the run's own."""
    return "results-" + re.sub(r"[^\w.-]", "-", judge) + ".json"


def read_results(path: Path) -> Results:
    """Reads and validates a ``results.json``.

    Raises:
        BadInput: no such file, no JSON, a newer schema, or a field missing or of a wrong kind.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(
            f"the results {path} cannot be read ({error.strerror}); evaluate to the end first."
        ) from error
    except (ValueError, RecursionError) as error:
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
    try:
        cells = {name: _record(TaskResult, cell) for name, cell in content["tasks"].items()}
        means = {name: _record(Average, mean) for name, mean in content["averages"].items()}
        helpfulness = _helpfulness(content.get("helpfulness"))
        parts = {"tasks": cells, "averages": means, "helpfulness": helpfulness}
        results: Results = _record(Results, {**content, **parts})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"{path} is not a whole results file ({error}); run the same evaluate command again."
        ) from error
    for name, cell in cells.items():
        if not 0 <= cell.score <= 100 or cell.n < 1:
            raise BadInput(
                f"{path}: the score of {name} is not a percentage over items ({cell.score} over "
                f"{cell.n}); run the same evaluate command again."
            )
    return results


def _helpfulness(content: dict[str, Any] | None) -> HelpfulnessResult | None:
    if content is None:
        return None
    found: HelpfulnessResult = _record(HelpfulnessResult, content)
    return found


def _record(kind: type[Any], content: dict[str, Any]) -> Any:
    """An object of a file's fields; fields that have a default may be missing in older files."""
    names = {f.name for f in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    if not needed <= set(content) <= names:
        different = ", ".join(sorted((needed - set(content)) | (set(content) - names)))
        raise ValueError(f"{kind.__name__} and the file differ in {different}")
    for name in ("score", "n"):
        if name in content and not isinstance(content[name], (int, float)):
            raise ValueError(f"{name} is {content[name]!r}")
    return kind(**content)
