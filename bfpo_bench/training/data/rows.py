"""Rows of preference data as they stand in a file, or in a data set of the hub, one by one.

A line that is no JSON is given as the error it is, so that the lines after it can still be read;
whatever makes a whole file unreadable is raised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.foreign import check_is_file, foreign_bytes
from bfpo_bench.data.files import Record
from bfpo_bench.data.hub import HubUnavailable, cache_only_without_network, reason

Rows = Iterator[Record | BadInput]


def file_rows(path: Path) -> Rows:
    """Rows of a ``.json`` file (one list, or an object per line), ``.jsonl`` or ``.parquet``.

    Raises:
        BadInput: the file cannot be read, or is none of these.
    """
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    if path.suffix not in (".json", ".jsonl"):
        raise BadInput(
            f"{path} is no preference file that can be read; expected .json, .jsonl or .parquet."
        )
    text = _read_text(path)
    return _list_rows(path, text) if text.lstrip().startswith("[") else _line_rows(path, text)


def _read_text(path: Path) -> str:
    try:
        return foreign_bytes(path).decode("utf-8-sig")
    except OSError as error:
        raise BadInput(
            f"the preference file {path} cannot be opened ({error.strerror or error})."
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput(
            f"the preference file {path} is not UTF-8 (at byte {error.start}); convert it."
        ) from error


def _row(at: str, values: Any) -> Record | BadInput:
    if isinstance(values, dict):
        return Record(at, values)
    return BadInput(f"{at}: a row should be an object, found {type(values).__name__}.")


def _line_rows(path: Path, text: str) -> Rows:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            at = f"{path}, line {number}"
            try:
                yield _row(at, json.loads(line))
            except (ValueError, RecursionError) as error:
                yield BadInput(f"{at}: the line is no JSON ({error}).")


def _list_rows(path: Path, text: str) -> Rows:
    """Items one by one, which tells the line that each begins in."""
    decoder = json.JSONDecoder()
    position, line, counted = text.index("[") + 1, 1, 0
    while True:
        position = _skip(text, position)
        if text[position : position + 1] == "]":
            return
        line, counted = line + text.count("\n", counted, position), position
        at = f"{path}, line {line}"
        try:
            item, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{at}: the list cannot be read from here on ({error}).") from error
        yield _row(at, item)
        position = _skip(text, position)
        if text[position : position + 1] == ",":
            position += 1
        elif text[position : position + 1] != "]":
            raise BadInput(f"{at}: after this item of the list a ',' or ']' is missing.")


def _skip(text: str, position: int) -> int:
    blank = _BLANK.match(text, position)
    return blank.end() if blank else position


_BLANK = re.compile(r"[ \t\r\n]*")


def _parquet_rows(path: Path) -> Rows:
    import pyarrow
    from pyarrow import parquet

    try:
        check_is_file(path)
        file = parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                yield Record(f"{path}, row {number}", values)
                number += 1
    except (OSError, pyarrow.ArrowException) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise BadInput(f"{path} cannot be read as Parquet ({said[0].rstrip('.')}).") from error


def hub_rows(repo: str, split: str, revision: str | None) -> Rows:
    """Rows of a data set on the Hugging Face hub; its data files only, never a script of it.

    Raises:
        HubUnavailable: one sentence, whatever the reason.
    """
    address = f"{repo}@{revision or 'main'} ({split})"
    try:
        with cache_only_without_network():
            import datasets

            dataset = datasets.load_dataset(repo, split=split, revision=revision)
    except Exception as error:
        raise HubUnavailable(
            f"preference data {address} could not be had from the hub: {reason(error)}; download "
            "it elsewhere and name its files instead."
        ) from error
    for number, values in enumerate(dataset):
        yield Record(f"{address}, row {number}", values)
