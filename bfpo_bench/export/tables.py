"""Samples as tables: JSON lines as they are, and flat columns for pandas, CSV and Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bfpo_bench.common.files import atomic_file
from bfpo_bench.export.place import file_of
from bfpo_bench.export.samples import RunSamples, Sample

if TYPE_CHECKING:
    from pandas import DataFrame

ROWS = 2000
CHARACTERS = 16_000_000
"""A frame has at most so many rows, or about so much text: what an export holds in memory."""

_TEXTS = ("model", "suite", "task", "column", "group", "item")
_ABOUT_RESPONSE = {
    **dict.fromkeys(("prompt", "question", "response", "thought", "no_answer", "finish"), "str"),
    **dict.fromkeys(("seed", "prompt_tokens", "tokens", "cut_tokens"), "Int64"),
}

_SAID = {
    "harmful": "boolean",
    "p_harmful": "Float64",
    "refusal": "str",
    "p_refusal": "Float64",
    "raw": "str",
}
"""What a judge says of a response, and the type of its column."""


def rows(run: RunSamples) -> Iterator[dict[str, Any]]:
    """Every sample of a run, the same keys whatever the task; docs/export.md describes them."""
    for task in run.tasks:
        column, group = run.placing(task)
        head = dict(zip(_TEXTS, (run.model, run.suite, task, column, group), strict=False))
        for sample in run.of(task):
            yield {
                **head,
                "item": sample.item.item,
                "position": sample.item.position,
                "row": sample.row,
                "metrics": sample.metrics,
                "choices": [without(score, "key", "task", "item") for score in sample.scores],
                **{name: getattr(sample.response, name, None) for name in _ABOUT_RESPONSE},
                "verdicts": verdict_rows(sample),
            }


def verdict_rows(sample: Sample) -> list[dict[str, Any]]:
    """What every judge says of a sample's response."""
    return [without(verdict, "key", "task", "item") for verdict in sample.verdicts]


def without(record: Any, *names: str) -> dict[str, Any]:
    """The fields of a record as a mapping, but for some."""
    return {name: value for name, value in asdict(record).items() if name not in names}


def samples(run: str | Path) -> DataFrame:
    """The samples of a run directory, finished or not: one row per item that has an answer.

    Columns are flat; docs/export.md describes them. Texts are the model's and not to be trusted.

    Raises:
        BadInput: no run, nothing in it yet, or a run of a newer version.
    """
    import pandas

    with RunSamples(Path(run)) as opened:
        opened.require_answers()
        return pandas.concat(frames(opened), ignore_index=True)


def frames(run: RunSamples) -> Iterator[DataFrame]:
    """The samples as flat frames of a few thousand rows, all with the same columns and types."""
    import pandas

    kinds = {
        **dict.fromkeys(_TEXTS, "str"),
        "position": "Int64",
        "row": "str",
        **{f"metric.{name}": "Float64" for name in run.metrics},
        "choice": "Int64",
        "choices": "str",
        **_ABOUT_RESPONSE,
    }
    for judge in run.judges:
        for name, kind in _SAID.items():
            kinds[f"{name}.{judge}"] = kind
    waiting: list[dict[str, Any]] = []
    size = 0
    for row in rows(run):
        waiting.append(_flat(row))
        size += sum(len(value) for value in waiting[-1].values() if isinstance(value, str))
        if len(waiting) == ROWS or size > CHARACTERS:
            yield pandas.DataFrame(waiting, columns=list(kinds)).astype(kinds)
            waiting, size = [], 0
    if waiting:
        yield pandas.DataFrame(waiting, columns=list(kinds)).astype(kinds)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """The row with a column per metric and judge, and JSON texts for what has no fixed form."""
    flat = {name: value for name, value in row.items() if name not in ("metrics", "verdicts")}
    flat["row"] = strict_json(row["row"], ensure_ascii=False)
    if choices := row["choices"]:
        flat["choice"] = max(choices, key=lambda one: float(one["loglikelihood"]))["choice"]
    flat["choices"] = strict_json(choices, ensure_ascii=False) if choices else None
    flat |= {f"metric.{name}": value for name, value in row["metrics"].items()}
    for verdict in row["verdicts"]:
        judge = verdict.pop("judge")
        flat |= {f"{name}.{judge}": value for name, value in verdict.items()}
    return flat


def write_table(format: str, run: RunSamples, output: Path | None, force: bool) -> tuple[Path, int]:
    """Writes the samples as one file; returns it and the number of samples.

    Args:
        format: ``jsonl``, ``csv`` or ``parquet``.
    """
    path = output or Path(file_of(run.path, format))
    with atomic_file(path, run.path, force) as temporary:
        return path, _WRITERS[format](run, temporary)


def _write_jsonl(run: RunSamples, path: Path) -> int:
    count = 0
    with path.open("w", encoding="ascii", newline="\n") as file:
        for count, row in enumerate(rows(run), 1):  # noqa: B007
            file.write(json_line(row))
    return count


def _write_csv(run: RunSamples, path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for frame in frames(run):
            # Line ends of RFC 4180: with others Python quotes no lone carriage return of a text.
            frame.to_csv(file, index=False, header=not count, lineterminator="\r\n")
            count += len(frame)
    return count


def _write_parquet(run: RunSamples, path: Path) -> int:
    from pyarrow import Table
    from pyarrow.parquet import ParquetWriter

    count = 0
    writer: Any = None
    for frame in frames(run):
        table = Table.from_pandas(frame, preserve_index=False)
        writer = writer or ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
        count += len(frame)
    if writer is not None:
        writer.close()
    return count


_WRITERS = {"jsonl": _write_jsonl, "csv": _write_csv, "parquet": _write_parquet}


def json_line(value: dict[str, Any], default: Callable[[Any], Any] | None = None) -> str:
    """One line of strict JSON; ``default`` turns what is no JSON value into one.

    Everything beyond ASCII is escaped: a text with line separators of Unicode or with characters
    that turn the writing direction stays on its line and in its place for whoever looks at it.
    """
    return strict_json(value, default) + "\n"


def strict_json(
    value: Any, default: Callable[[Any], Any] | None = None, ensure_ascii: bool = True
) -> str:
    """JSON that every reader takes: a number that is not finite, which JSON has not, is null."""
    try:
        return json.dumps(value, allow_nan=False, default=default, ensure_ascii=ensure_ascii)
    except ValueError:
        finite = json.loads(json.dumps(value, default=default), parse_constant=lambda _: None)
        return json.dumps(finite, ensure_ascii=ensure_ascii)
