"""Upstream files as records that remember where they stood, so that errors can say so.

Only the standard library is used here: reading a local file loads neither pandas nor datasets.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.foreign import foreign_bytes


class Record(NamedTuple):
    """One upstream row and its place, e.g. ``"…/cm_test.csv, line 12"``."""

    at: str
    values: Mapping[str, Any]


def read_text(path: Path) -> str:
    """The file's text as UTF-8, without a byte-order mark and with its line ends untouched.

    Raises:
        BadInput: it cannot be opened or is not UTF-8.
    """
    try:
        data = foreign_bytes(path)
    except OSError as error:
        raise BadInput(
            f"the data file {path} cannot be read ({error.strerror or error}); fetch it again, or "
            "name another folder with --data-dir."
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"{path}, line {line}: byte {error.start} is no UTF-8 text; fetch the file again."
        ) from error


def csv_rows(path: Path) -> Iterator[list[str]]:
    """The cells of a CSV file's rows, whatever their number; blank lines are passed over.

    Raises:
        BadInput: names file and line of quotes that do not close.
    """
    for _, cells in _numbered_rows(path):
        yield cells


def csv_records(path: Path, columns: Sequence[str], header: bool = True) -> Iterator[Record]:
    """Rows of a CSV file.

    Args:
        path: the file.
        columns: columns that must be there; without a header, the names of its columns in order.
        header: whether the first row names the columns.

    Raises:
        BadInput: names file and line for a missing column, a row of another length, or quotes
            that do not close.
    """
    names = None if header else list(columns)
    for at, cells in _numbered_rows(path):
        if names is None:
            names = cells
            missing = [name for name in columns if name not in names]
            if missing:
                some, verb = ("columns", "are") if len(missing) > 1 else ("column", "is")
                raise BadInput(
                    f"{at}: {some} {_listed(missing)} {verb} missing; found the header "
                    f"{_listed(names)}; fetch the file again."
                )
        elif len(cells) != len(names):
            raise BadInput(
                f"{at}: found {len(cells)} cells, expected {len(names)}; fetch the file again."
            )
        else:
            yield Record(at, dict(zip(names, cells, strict=True)))
    if names is None:
        raise BadInput(
            f"{path} is empty; expected the columns {', '.join(columns)}; fetch the file again."
        )


def _numbered_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    # newline="" keeps the line ends inside quoted fields as they are (ETHICS has some).
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield f"{path}, line {start}", cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise BadInput(
            f"{path}, line {start}: malformed CSV ({error}); fetch the file again."
        ) from error


def jsonl_records(path: Path) -> Iterator[Record]:
    """Objects of a JSON-lines file; blank lines are passed over.

    Raises:
        BadInput: names file and line for anything that is not a JSON object.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        at = f"{path}, line {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{at}: malformed JSON ({error}); fetch the file again.") from error
        yield Record(at, mapping(at, values))


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        BadInput: names file and line of what is malformed.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        at = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise BadInput(f"{path}{at}: malformed JSON ({error}); fetch the file again.") from error


def mapping(at: str, value: Any) -> Mapping[str, Any]:
    """``value`` as an object, or the sentence that it is none."""
    if not isinstance(value, Mapping):
        raise BadInput(
            f"{at}: expected an object, found {type(value).__name__}; fetch the file again."
        )
    return value


def value(record: Record, name: str) -> Any:
    """What stands under ``name``; an error that lists the fields that are there if nothing does."""
    try:
        return record.values[name]
    except KeyError:
        raise BadInput(
            f"{record.at}: field {name!r} is missing; found {_listed(record.values)}; fetch the "
            "file again."
        ) from None


def text(record: Record, name: str) -> str:
    """A string, exactly as upstream has it (blanks at its ends included)."""
    found = value(record, name)
    if not isinstance(found, str):
        raise _wrong(record, name, found, "text")
    return _unicode(record, name, found)


def _unicode(record: Record, name: str, found: str) -> str:
    """A text without half a surrogate pair, which JSON can write and no tokenizer can read."""
    try:
        found.encode()
    except UnicodeEncodeError as error:
        raise BadInput(
            f"{record.at}: field {name!r} holds half a surrogate pair at character {error.start}, "
            "which is no Unicode text; fetch the file again."
        ) from None
    return found


def integer(record: Record, name: str) -> int:
    """A whole number, written as a number or as digits."""
    found = value(record, name)
    try:
        if isinstance(found, (int, str)) and not isinstance(found, bool):
            return int(found)
    except ValueError:
        pass
    raise _wrong(record, name, found, "a whole number")


def number(record: Record, name: str) -> float:
    """A number."""
    found = value(record, name)
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        return float(found)
    raise _wrong(record, name, found, "a number")


def texts(record: Record, name: str) -> list[str]:
    """A list of strings."""
    found = value(record, name)
    if isinstance(found, list) and all(isinstance(item, str) for item in found):
        return [_unicode(record, name, item) for item in found]
    raise _wrong(record, name, found, "a list of texts")


def _listed(names: Iterable[str]) -> str:
    shown = ", ".join(map(repr, names)) or "nothing"
    return shown if len(shown) <= 200 else shown[:199] + "…"


def _wrong(record: Record, name: str, found: Any, expected: str) -> BadInput:
    shown = json.dumps(found, default=str)
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    return BadInput(
        f"{record.at}: field {name!r} should be {expected}, found {shown}; fetch the file again."
    )


Convert = Callable[[Record], dict[str, Any] | None]
"""One upstream record → one canonical row; None for a record that is not of the source."""


def from_csv(
    convert: Convert, *columns: str, header: bool = True
) -> Callable[[Sequence[Path]], list[dict[str, Any]]]:
    """Reader of CSV files that must have ``columns``; see :func:`csv_records`."""
    return lambda paths: _converted(
        convert, (record for path in paths for record in csv_records(path, columns, header))
    )


def from_jsonl(convert: Convert) -> Callable[[Sequence[Path]], list[dict[str, Any]]]:
    """Reader of JSON-lines files."""
    return lambda paths: _converted(
        convert, (record for path in paths for record in jsonl_records(path))
    )


def from_hub(convert: Convert) -> Callable[[Iterable[Record]], list[dict[str, Any]]]:
    """Reader of a hub split."""
    return lambda records: _converted(convert, records)


def _converted(convert: Convert, records: Iterable[Record]) -> list[dict[str, Any]]:
    return [row for record in records if (row := convert(record)) is not None]
