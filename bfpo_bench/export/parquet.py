"""Samples as a Parquet file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bfpo_bench.common.files import atomic_file
from bfpo_bench.export.rows import rows
from bfpo_bench.export.samples import RunSamples

GROUP_ROWS = 2000
GROUP_CHARACTERS = 16_000_000
"""A row group is written when it has so many rows or so much text: what is held in memory."""


def write_parquet(run: RunSamples, output: Path | None, force: bool) -> tuple[Path, int]:
    """Writes the samples with an explicit schema; returns the file and their number."""
    from pyarrow import RecordBatch  # type: ignore[import-untyped]
    from pyarrow.parquet import ParquetWriter  # type: ignore[import-untyped]

    path = output or Path(f"{run.path.resolve().name}.parquet")
    columns = schema()
    count = 0
    with (
        atomic_file(path, run.path, force) as temporary,
        ParquetWriter(temporary, columns, compression="zstd") as writer,
    ):
        group: list[dict[str, Any]] = []
        characters = 0
        for row in rows(run):
            group.append(_plain(row))
            characters += _characters(row)
            count += 1
            if len(group) == GROUP_ROWS or characters > GROUP_CHARACTERS:
                writer.write_batch(RecordBatch.from_pylist(group, schema=columns))
                group, characters = [], 0
        if group:
            writer.write_batch(RecordBatch.from_pylist(group, schema=columns))
    return path, count


def schema() -> Any:
    """The columns (a ``pyarrow.Schema``); those of JSON lines, as docs/export.md describes them."""
    import pyarrow as pa

    text, integer, real, truth = pa.string(), pa.int64(), pa.float64(), pa.bool_()

    def list_of(**fields: Any) -> Any:
        return pa.list_(pa.struct(list(fields.items())))

    return pa.schema(
        [
            *((name, text) for name in ("model", "suite", "task", "column", "group", "item")),
            ("position", integer),
            ("row", text),
            ("metrics", list_of(metric=text, value=real)),
            (
                "choices",
                list_of(
                    choice=integer,
                    context=text,
                    continuation=text,
                    loglikelihood=real,
                    is_greedy=truth,
                    cut_tokens=integer,
                ),
            ),
            *((name, text) for name in ("prompt", "question", "response")),
            *((name, text) for name in ("thought", "no_answer", "finish")),
            *((name, integer) for name in ("seed", "prompt_tokens", "tokens", "cut_tokens")),
            ("verdicts", list_of(judge=text, harmful=truth, p_harmful=real, raw=text)),
        ]
    )


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """The row with what differs from task to task in a form that one schema holds."""
    metrics = [{"metric": name, "value": value} for name, value in row["metrics"].items()]
    return {**row, "row": json.dumps(row["row"], ensure_ascii=False), "metrics": metrics}


def _characters(row: dict[str, Any]) -> int:
    parts = [row["prompt"], row["question"], row["response"], row["thought"]]
    parts += [verdict["raw"] for verdict in row["verdicts"]]
    for choice in row["choices"]:
        parts += [choice["context"], choice["continuation"]]
    return sum(len(part) for part in parts if part)
