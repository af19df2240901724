"""Samples as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bfpo_bench.common.files import atomic_file
from bfpo_bench.export.rows import rows
from bfpo_bench.export.samples import RunSamples


def write_jsonl(run: RunSamples, output: Path | None, force: bool) -> tuple[Path, int]:
    """Writes one JSON object per sample and line; returns the file and their number."""
    path = output or Path(f"{run.path.resolve().name}.jsonl")
    count = 0
    with (
        atomic_file(path, run.path, force) as temporary,
        temporary.open("w", encoding="ascii", newline="\n") as file,
    ):
        for row in rows(run):
            file.write(json_line(row))
            count += 1
    return path, count


def json_line(value: dict[str, Any], default: Callable[[Any], Any] | None = None) -> str:
    """One line of strict JSON; ``default`` turns what is no JSON value into one.

    Everything beyond ASCII is escaped: a text with line separators of Unicode or with characters
    that turn the writing direction stays on its line and in its place for whoever looks at it.
    """
    try:
        return json.dumps(value, allow_nan=False, default=default) + "\n"
    except ValueError:
        # A number that is not finite; JSON has none, so it becomes null.
        finite = json.loads(json.dumps(value, default=default), parse_constant=lambda _: None)
        return json.dumps(finite) + "\n"
