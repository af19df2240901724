"""Files of responses with people's labels, or with a judge's verdicts: CSV, JSON or JSON lines."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.foreign import foreign_bytes
from bfpo_bench.common.options import names_in
from bfpo_bench.judges.majority import most
from bfpo_bench.judges.vocabulary import HARM, VOCABULARIES, Vocabulary

# The longest field that csv accepts is 128 KiB by default; responses can be longer.
_FIELD_LIMIT = 1 << 30


@dataclass(frozen=True)
class Table:
    """A file as rows of named columns.

    Attributes:
        encoding: the one it was read in.
        digest: sha256 of the file, hex.
        first: number of the first row as an editor counts lines of JSON lines or records of a CSV.
    """

    path: Path
    columns: list[str]
    rows: list[dict[str, Any]]
    encoding: str
    digest: str
    first: int

    def column(self, name: str) -> list[Any]:
        """The values of a column.

        Raises:
            BadInput: there is no such column.
        """
        if name not in self.columns:
            raise unknown_name(f"column of {self.path.name}:", name, self.columns)
        return [row.get(name) for row in self.rows]

    def named(self, parts: Sequence[str]) -> list[str]:
        """The columns whose names were split at commas, which they may hold themselves."""
        there = {",".join(part.strip() for part in one.split(",")): one for one in self.columns}
        return [there.get(name, name) for name in names_in(parts, ",", there.__contains__)]

    def texts(self, name: str) -> list[str]:
        """The values of a column that holds texts.

        Raises:
            BadInput: there is no such column, or a row has no text there.
        """
        values = self.column(name)
        for row, value in enumerate(values, self.first):
            if not isinstance(value, str):
                raise BadInput(
                    f"{self.path}, row {row}: {name} is {value!r}; a text is needed there."
                )
        return values

    def classes(
        self,
        name: str,
        means: str | None,
        vocabulary: Vocabulary = HARM,
        option: str = "--label-means",
    ) -> list[str | None]:
        """The classes that a column of labels or verdicts names; None where nothing is said.

        Args:
            means: what 1, true and yes stand for; words like ``unsafe`` speak for themselves.
            option: of the command line that says it, for messages.

        Raises:
            BadInput: there is no such column, a value that is none of the known words, or one
                that can mean either where nothing says which.
        """
        found: list[str | None] = []
        strange: dict[str, int] = {}  # the first row of each
        for row, value in enumerate(self.column(name), self.first):
            try:
                word = vocabulary.read(value)
            except KeyError:
                strange.setdefault(str(value)[:40], row)
                continue
            if isinstance(word, bool):
                if means is None:
                    raise self._unclear(name, row, value, vocabulary, option)
                word = vocabulary.means[means][not word]
            found.append(word)
        if strange:
            raise self._strange(name, strange, vocabulary)
        return found

    def _unclear(
        self, name: str, row: int, value: Any, vocabulary: Vocabulary, option: str
    ) -> BadInput:
        says = " or ".join(meaning.says for meaning in vocabulary.means.values())
        tell = " or ".join(f"{option} {means}" for means in vocabulary.means)
        return BadInput(
            f"{self.path}, row {row}: {name} is {value!r}, which can say {says}; tell which with "
            f"{tell} (what 1, true and yes mean)."
        )

    def _strange(self, name: str, strange: dict[str, int], vocabulary: Vocabulary) -> BadInput:
        first, *more = map(repr, strange)
        also = f", {', '.join(more[:4])} elsewhere" if more else ""
        also += f" and {len(more) - 4} more values" if len(more) > 4 else ""
        others = [kind for kind, other in VOCABULARIES.items() if all(map(other.knows, strange))]
        hint = f"; for these give --verdict {others[0]}" if others else ""
        return BadInput(
            f"{self.path}, row {min(strange.values())}: {name} is {first}{also}; labels and "
            f"verdicts are {vocabulary.known}{hint}."
        )


@dataclass(frozen=True)
class Labels:
    """What people say about each row.

    Attributes:
        values: the majority; None where there is none.
        ties: rows in which no class has more votes than every other.
        unlabelled: rows without a vote.
    """

    values: list[str | None]
    ties: int
    unlabelled: int


def majority(
    table: Table, columns: Sequence[str], means: str | None = None, vocabulary: Vocabulary = HARM
) -> Labels:
    """The class with most votes of one or more label columns, row by row; empty cells do not vote.

    Args:
        means: see :meth:`Table.classes`.

    Raises:
        BadInput: a column is named twice, is not there, or holds something else than labels.
    """
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"label column {twice!r} is named twice; each column has one vote.")
    votes = [table.classes(name, means, vocabulary) for name in columns]
    values: list[str | None] = []
    ties = unlabelled = 0
    for row in zip(*votes, strict=True):
        given = [label for label in row if label]
        values.append(most(given))
        ties += bool(given) and values[-1] is None
        unlabelled += not given
    return Labels(values, ties, unlabelled)


def read_table(path: Path, encoding: str | None = None, option: str = "") -> Table:
    """Reads a CSV (comma, semicolon or tab), a JSON array of objects, or JSON lines.

    Which of them it is goes by what the file starts with, not by its name.

    Args:
        option: of the command line that names the encoding, for messages.

    Raises:
        BadInput: the file cannot be read, is in an encoding that is not known, or is no such table.
    """
    try:
        data = foreign_bytes(path)
    except OSError as error:
        raise BadInput(
            f"the labels file {path} cannot be read ({error.strerror}); give a CSV, JSON or "
            "JSON-lines file."
        ) from error
    text, found = decode(data, str(path), encoding, option)
    first = 1
    if text.lstrip()[:1] in ("[", "{"):
        columns, rows = _read_json(path, text)
    else:
        columns, rows = _read_csv(path, text)
        first = 2  # the header is the first
    if not rows:
        raise BadInput(f"{path} has no rows; give a CSV, JSON or JSON-lines file with labels.")
    return Table(path, columns, rows, found, hashlib.sha256(data).hexdigest(), first)


def decode(
    data: bytes, name: str, encoding: str | None = None, option: str = ""
) -> tuple[str, str]:
    """The text of a file, and the encoding it was read in: UTF-8 or, by its mark, UTF-16.

    Args:
        name: of the file, for errors.
        encoding: take this one.
        option: see :func:`read_table`.

    Raises:
        BadInput: the encoding is unknown or does not fit, or has to be named.
    """
    if encoding is None:
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        narrow = "utf-8-sig" if data.startswith(codecs.BOM_UTF8) else "utf-8"
        found = "utf-16" if wide else narrow
    else:
        found = encoding
    try:
        codecs.lookup(found)  # decoding nothing would look nothing up
        return data.decode(found), found
    except LookupError:
        raise BadInput(
            f"unknown encoding {encoding!r}; give one that Python knows, e.g. utf-8, cp1252 or "
            "mac-roman."
        ) from None
    except UnicodeError as error:
        if encoding is None:
            tell = f", or tell what it is with {option} (cp1252 and mac-roman are common)"
            raise BadInput(
                f"{name} is not UTF-8 text; save it as UTF-8{tell if option else ''}."
            ) from None
        raise BadInput(f"{name} is not {encoding} text ({error}); try another {option}.") from None


def _read_csv(path: Path, text: str) -> tuple[list[str], list[dict[str, Any]]]:
    csv.field_size_limit(_FIELD_LIMIT)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    # Strict: a quote that is not closed would quietly swallow all rows after it.
    lines = io.StringIO(text, newline="")
    reader = csv.DictReader(lines, delimiter=delimiter, restval=None, strict=True)
    try:
        columns = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        rows: list[dict[str, Any]] = list(reader)
    except csv.Error as error:
        raise BadInput(
            f"{path}, line {reader.line_num + 1} is not CSV ({error}); close its quotes, or save "
            "the table again."
        ) from None
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise BadInput(f"{path} has two columns {twice!r}; give each its own name.")
    for number, row in enumerate(rows, 2):
        # csv collects what is too much under the key None.
        if None in row:
            raise BadInput(
                f"{path}, row {number} has more than {len(columns)} values; quote texts that hold "
                f"{delimiter!r} or line breaks."
            )
    return columns, rows


def _read_json(path: Path, text: str) -> tuple[list[str], list[dict[str, Any]]]:
    if text.lstrip().startswith("["):
        rows = _parse(text, str(path))
    else:
        lines = enumerate(text.split("\n"), 1)
        rows = [_parse(line, f"{path}, line {number}") for number, line in lines if line.strip()]
    for row in rows:
        if not isinstance(row, dict):
            raise BadInput(
                f"{path} holds {type(row).__name__} where objects should be; write each row as "
                '{"column": value, ...}.'
            )
    return list(dict.fromkeys(name for row in rows for name in row)), rows


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{where} is not JSON ({error}); write an array of objects or one object per line."
        ) from None
