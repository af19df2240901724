"""A preference set from files or the hub: formats told apart, bad rows reported, a part drawn."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple, TypeVar

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.data.files import Record
from bfpo_bench.training.data import pku, redteam, sharegpt, trl, ultrafeedback
from bfpo_bench.training.data.columns import Unread, check_unread, tracked
from bfpo_bench.training.data.preferences import LoadedSet, PreferenceRecord, PreferenceSet
from bfpo_bench.training.data.rows import Rows, file_rows, hub_rows

T = TypeVar("T")

_SHOWN = 3  # bad rows that an error names


class Format(NamedTuple):
    """How one kind of preference data is written.

    Attributes:
        fields: those by which a row is told to be of this format.
        read: makes the record of a row for a set's name, or raises a BadInput.
    """

    fields: tuple[str, ...]
    read: Callable[[Record, str], PreferenceRecord]


FORMATS: Mapping[str, Format] = {
    "pku-saferlhf": Format(pku.FIELDS, pku.read_row),
    "ultrafeedback": Format(ultrafeedback.FIELDS, ultrafeedback.read_row),
    "redteam": Format(redteam.FIELDS, redteam.read_row),
    "redteam-authors": Format(redteam.AUTHORS_FIELDS, redteam.read_authors_row),
    "sharegpt": Format(sharegpt.FIELDS, sharegpt.read_row),
    "argilla": Format(trl.ARGILLA_FIELDS, trl.read_argilla_row),
    "orca": Format(("question", *trl.FIELDS), trl.read_row),
    "llama-factory": Format(("instruction", *trl.FIELDS), trl.read_row),
    "llama-factory-output": Format(trl.OUTPUT_FIELDS, trl.read_output_row),
    "trl": Format(trl.FIELDS, trl.read_row),
}
"""In the order in which they are tried: ``trl``, whose fields others have too, comes last."""

PINNED: Mapping[str, tuple[str | None, str]] = {
    "PKU-Alignment/PKU-SafeRLHF": ("ff7ba91063016c78a225b0f74e1c0860bb18230f", "train"),
    "HuggingFaceH4/ultrafeedback_binarized": (None, "train_prefs"),
}
"""Data set on the hub → revision and split that the paper's authors trained on; they pinned no
revision of the second."""


def load_set(wanted: PreferenceSet) -> LoadedSet:
    """Read a set whole, check every row, then draw ``limit`` of its records.

    Raises:
        BadInput: no file and no hub id (or both), an unknown format, a file that cannot be read,
            bad rows that are not to be skipped (names how many and the first few), no record at
            all, or a column that no reader knows and that may belong to the conversation.
    """
    parts = _parts(wanted)
    if wanted.format is not None and wanted.format not in FORMATS:
        raise unknown_name("format of preference data", wanted.format, FORMATS)
    if wanted.limit is not None and wanted.limit < 1:
        raise BadInput(f"the limit of set {wanted.name!r} should be at least 1.")
    records: list[PreferenceRecord] = []
    bad: list[str] = []
    formats, lacking = [], 0
    for rows in parts:
        name, rows = (wanted.format, rows) if wanted.format else _detect(rows)
        formats.append(name)
        for row in rows:
            try:
                records.append(_record(row, name, wanted))
            except Unread:
                raise
            except BadInput as error:
                bad.append(str(error))
                lacking += isinstance(error, trl.NoPrompt)
    found = len(records) + len(bad)
    if bad and not wanted.skip_bad_rows:
        raise refused(wanted.name, bad, found)
    if lacking > found / 2:
        # What a few responses by chance begin with is no prompt either.
        raise BadInput(
            f"{lacking} of the {found} rows of set {wanted.name!r} hold responses alone, so it "
            f"seems to have no prompts (first: {bad[0].rstrip('.')}); add a field 'prompt'."
        )
    if not records:
        raise BadInput(f"set {wanted.name!r} has no row that can be used, of {found}.")
    if wanted.all_safe:
        records = [_all_safe(record) for record in records]
    kept = draw(records, wanted.limit, wanted.seed)
    return LoadedSet(wanted.name, kept, found, bad, tuple(formats))


def _record(row: Record | BadInput, name: str, wanted: PreferenceSet) -> PreferenceRecord:
    row = tracked(row, wanted.ignore_fields)
    record = FORMATS[name].read(row, wanted.name)
    check_unread(row, [*(content for _, content in record.prompt), *record.responses])
    return record


def read_set(wanted: PreferenceSet, read: Callable[[Record], T]) -> tuple[list[T], list[str]]:
    """What `read` makes of each row of a set, and a sentence for each row that it cannot use.

    Raises:
        BadInput: no file and no hub id (or both), a file that cannot be read, or bad rows that are
            not to be skipped.
    """
    found: list[T] = []
    bad: list[str] = []
    for row in chain.from_iterable(_parts(wanted)):
        try:
            found.append(read(tracked(row, wanted.ignore_fields)))
        except Unread:
            raise
        except BadInput as error:
            bad.append(str(error))
    if bad and not wanted.skip_bad_rows:
        raise refused(wanted.name, bad, len(found) + len(bad))
    return found, bad


def draw(records: list[T], limit: int | None, seed: int) -> list[T]:
    """``limit`` of the records in their order; fewer with the same seed are a part of more."""
    if limit is None or limit >= len(records):
        return records
    # Python promises the same random() for ever, but not the same sample().
    rng = random.Random(seed)
    keys = [rng.random() for _ in records]
    chosen = sorted(range(len(records)), key=keys.__getitem__)[:limit]
    return [records[index] for index in sorted(chosen)]


def _parts(wanted: PreferenceSet) -> Iterator[Rows]:
    """The rows of each file, or of the hub's data set, opened one after the other.

    Raises:
        BadInput: no file and no hub id, or both.
    """
    if bool(wanted.files) == bool(wanted.hub):
        raise BadInput(
            f"set {wanted.name!r} needs either files or a data set on the hub, not both."
        )
    if wanted.hub is None:
        return map(file_rows, wanted.files)
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
    for name, form in FORMATS.items():
        if all(field in row.values for field in form.fields):
            return name
    raise BadInput(
        f"{row.at}: the fields {', '.join(map(repr, row.values))} are those of no known format of "
        f"preference data; there are: {', '.join(FORMATS)} (their fields: docs/preferences.md)."
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


def _all_safe(record: PreferenceRecord) -> PreferenceRecord:
    first, second = (True if safe is None else safe for safe in record.safe)
    return replace(record, safe=(first, second))
