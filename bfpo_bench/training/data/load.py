"""A set of rows from files or the hub: formats told apart, bad rows reported, a part drawn."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.data.files import Record
from bfpo_bench.training.data.columns import Unread, check_unread, tracked
from bfpo_bench.training.data.formats import FORMATS, NoPrompt
from bfpo_bench.training.data.preferences import LoadedSet, PreferenceRecord
from bfpo_bench.training.data.rows import Rows, file_rows, hub_rows
from bfpo_bench.training.data.segments import opening, read_segments
from bfpo_bench.training.recipe_parts import DataRecipe, EmphasisRecipe

T = TypeVar("T")

_SHOWN = 3  # bad rows that an error names

PINNED: Mapping[str, tuple[str | None, str]] = {
    "PKU-Alignment/PKU-SafeRLHF": ("ff7ba91063016c78a225b0f74e1c0860bb18230f", "train"),
    "HuggingFaceH4/ultrafeedback_binarized": (None, "train_prefs"),
}
"""Data set on the hub → revision and split that the paper's authors trained on; they pinned no
revision of the second."""


def load_set(wanted: DataRecipe, seed: int = 42) -> LoadedSet:
    """Read a set whole, check every row, then draw ``limit`` of its records by the seed.

    Raises:
        BadInput: no file and no hub id (or both), an unknown format, a file that cannot be read,
            bad rows that are not to be skipped (names how many and the first few), no record at
            all, or a column that no reader knows and that may belong to the conversation.
    """
    parts = _parts(wanted)
    if wanted.format is not None and wanted.format not in FORMATS:
        raise unknown_name("format of preference data", wanted.format, FORMATS)
    records: list[PreferenceRecord] = []
    faults: list[BadInput] = []
    formats = []
    for rows in parts:
        name, rows = (wanted.format, rows) if wanted.format else _detect(rows)
        formats.append(name)
        records += _read(rows, wanted, partial(_record, name=name, source=wanted.name), faults)
    bad, found = list(map(str, faults)), len(records) + len(faults)
    if bad and not wanted.skip_bad_rows:
        raise refused(wanted.name, bad, found)
    lacking = sum(isinstance(fault, NoPrompt) for fault in faults)
    if lacking > found / 2:
        # What a few responses by chance begin with is no prompt either.
        raise BadInput(
            f"{lacking} of the {found} rows of set {wanted.name!r} hold responses alone, so it "
            f"seems to have no prompts (first: {bad[0].rstrip('.')}); add a field 'prompt'."
        )
    if not records:
        raise BadInput(f"set {wanted.name!r} has no row that can be used, of {found}.")
    if wanted.all_safe:
        records = [
            replace(
                one,
                safe=(
                    one.safe[0] is not False,
                    one.safe[1] is not False if one.responses[1] else None,
                ),
            )
            for one in records
        ]
    kept = draw(records, wanted.limit, seed)
    if wanted.emphasis is not None:
        kept = [_emphasised(one, wanted.emphasis) for one in kept]
    return LoadedSet(wanted.name, kept, found, bad, tuple(formats))


def _record(row: Record, name: str, source: str) -> PreferenceRecord:
    record = FORMATS[name].read(row, source)
    first, *second = read_segments(row, [text for text in record.responses if text])
    check_unread(row, [*(content for _, content in record.prompt), *record.responses])
    return replace(record, weights=(first, second[0] if second else ()))


def _emphasised(record: PreferenceRecord, emphasis: EmphasisRecipe) -> PreferenceRecord:
    """Rows that have weights of their own keep them."""
    if any(record.weights):
        return record
    settings = emphasis.words, emphasis.weight, emphasis.rest
    first, second = (opening(text, *settings) for text in record.responses)
    return replace(record, weights=(first, second))


def read_set(wanted: DataRecipe, read: Callable[[Record], T]) -> tuple[list[T], list[str]]:
    """What `read` makes of each row of a set, and a sentence for each row that it cannot use.

    Raises:
        BadInput: no file and no hub id (or both), a file that cannot be read, or bad rows that are
            not to be skipped.
    """
    faults: list[BadInput] = []
    found = list(_read(chain.from_iterable(_parts(wanted)), wanted, read, faults))
    bad = list(map(str, faults))
    if bad and not wanted.skip_bad_rows:
        raise refused(wanted.name, bad, len(found) + len(bad))
    return found, bad


def _read(
    rows: Iterable[Record | BadInput],
    wanted: DataRecipe,
    read: Callable[[Record], T],
    faults: list[BadInput],
) -> Iterator[T]:
    """What `read` makes of rows; `faults` gets the errors of those that it cannot use."""
    for row in rows:
        try:
            yield read(tracked(row, wanted.ignore_fields))
        except Unread:
            raise
        except BadInput as error:
            faults.append(error)


def draw(records: list[T], limit: int | None, seed: int) -> list[T]:
    """``limit`` of the records in their order; fewer with the same seed are a part of more."""
    if limit is None or limit >= len(records):
        return records
    # Python promises the same random() for ever, but not the same sample().
    rng = random.Random(seed)
    keys = [rng.random() for _ in records]
    chosen = sorted(range(len(records)), key=keys.__getitem__)[:limit]
    return [records[index] for index in sorted(chosen)]


def _parts(wanted: DataRecipe) -> Iterator[Rows]:
    """The rows of each file, or of the hub's data set, opened one after the other."""
    if wanted.hub is None:
        return map(file_rows, map(Path, wanted.files))
    revision, split = PINNED.get(wanted.hub, (None, "train"))
    return iter([hub_rows(wanted.hub, wanted.split or split, wanted.revision or revision)])


def _detect(rows: Rows) -> tuple[str, Rows]:
    """The format of the first row that can be read, and all rows."""
    seen: list[Record | BadInput] = []
    for row in rows:
        seen.append(row)
        if isinstance(row, Record):
            return _format_of(row), chain(seen, rows)
    return "unknown", iter(seen)


def _format_of(row: Record) -> str:
    lacking = {
        name: [field for field in form.fields if field not in row.values]
        for name, form in FORMATS.items()
    }
    for name, fields in lacking.items():
        if not fields:
            return name
    near = {
        fields[0]: name
        for name, fields in lacking.items()
        if len(fields) == 1 < len(FORMATS[name].fields)
    }
    hint = "".join(f" ({field!r} would make it {name})" for field, name in near.items())
    raise BadInput(
        f"{row.at}: the fields {', '.join(map(repr, row.values))} are those of no known format of "
        f"preference data{hint}; there are: {', '.join(FORMATS)} (their fields: "
        "docs/preferences.md)."
    )


def refused(name: str, bad: list[str], found: int) -> BadInput:
    """The error for the bad rows of a set: how many, the first few, and what can be done.

    Args:
        name: the set's.
        bad: a sentence for each bad row.
        found: number of rows, bad or not.
    """
    said = "; ".join(sentence.rstrip(".") for sentence in bad[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return BadInput(
        f"{len(bad)} of the {found} rows of set {name!r} cannot be used: {said}{more}. Mend them, "
        "or have them left out and counted with skip_bad_rows: true."
    )


def usable(items: Sequence[T], broken: Mapping[int, str], name: str, skip: bool) -> list[T]:
    """What is left of a set without the rows that its training cannot use.

    Args:
        items: one for each row.
        broken: index of such a row → a sentence with its place.
        name: the set's.
        skip: whether they may be left out.

    Raises:
        BadInput: they may not, or nothing is left.
    """
    if broken and (not skip or len(broken) == len(items)):
        raise refused(name, list(broken.values()), len(items))
    return [item for index, item in enumerate(items) if index not in broken]
