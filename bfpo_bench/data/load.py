"""From a source to its rows: local files first, then the hub; checked against the pins."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.lazy import CompactRows
from bfpo_bench.data import hub as hub_files
from bfpo_bench.data.files import jsonl_records, value
from bfpo_bench.data.source import Loaded, Row, Source, Status, Variant


class OtherOption(BadInput):
    """A source that cannot be had as asked for, but with another option.

    Attributes:
        variant: the variant that is at hand; None where the option is ``--allow-unpinned``.
    """

    def __init__(self, sentence: str, variant: str | None = None) -> None:
        super().__init__(sentence)
        self.variant = variant


MINI = Path(__file__).with_name("mini")


def find_data_dir(data_dir: str | Path | None = None) -> Path | None:
    """The data folder: the one given, else ``BFPO_DATA_DIR``, else none.

    Raises:
        BadInput: it is not a folder.
    """
    given = data_dir or os.environ.get("BFPO_DATA_DIR") or None
    if given is None:
        return None
    folder = Path(given).expanduser()
    if not folder.is_dir():
        where = "--data-dir" if data_dir else "BFPO_DATA_DIR"
        raise BadInput(
            f"the data folder {folder} ({where}) does not exist or is not a folder; name one that "
            "holds the data sets' files."
        )
    return folder.resolve()


def local_files(variant: Variant, data_dir: Path | None) -> list[Path]:
    """The files of the first layout of which anything is there; empty if nothing is.

    Raises:
        BadInput: a layout is there in part; names what is missing.
    """
    for layout in variant.layouts:
        if data_dir is None and not all(Path(file).is_absolute() for file in layout):
            continue
        paths = [(data_dir or Path()) / file for file in layout]
        missing = [path for path in paths if not path.is_file()]
        if not missing:
            return paths
        if len(missing) < len(paths):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise BadInput(
                f"{data_dir} has {len(paths) - len(missing)} of the {len(paths)} files that "
                f"{layout[0]} belongs to; {missing[0]}{more} is missing: add the rest."
            )
    return []


def load_source(
    source: Source,
    *,
    data_dir: str | Path | None = None,
    variant: str | None = None,
    mini: bool = False,
    allow_unpinned: bool = False,
) -> Loaded:
    """The rows of a source, from local files, else from the hub; checked; cached per arguments.

    Args:
        data_dir: folder of upstream files (see docs/data.md); default: ``BFPO_DATA_DIR``.
        variant: an edition of the source; default: the one that the paper used.
        mini: read the bundled demonstration items instead, and nothing else.
        allow_unpinned: let rows through that are not the expected ones; the result is then marked.

    Raises:
        BadInput: unknown variant; a file that is malformed or incomplete.
        OtherOption: not the expected data, or only another variant is there (a kind of BadInput).
        HubUnavailable: no local files, and the hub cannot be had (a kind of BadInput).
    """
    wanted = source.variant(variant)
    if mini:
        return _mini(source)
    return _load(source, wanted, find_data_dir(data_dir), allow_unpinned)


@dataclass(frozen=True)
class _Found:
    variant: Variant
    rows: list[Row]
    where: str
    origin: Literal["files", "hub"]


@cache
def _load(source: Source, wanted: Variant, data_dir: Path | None, allow_unpinned: bool) -> Loaded:
    found = _find(source, wanted, data_dir, allow_unpinned)
    if not found.rows:
        raise BadInput(
            f"source {source.name!r}: {found.where} holds no rows; fetch it again from "
            f"{source.homepage}."
        )
    digest = source.digest(found.rows)
    differs = _differs(found.variant, len(found.rows), digest)
    status: Status = "pinned" if wanted.digest is not None else "unverified"
    if differs or found.variant is not wanted:
        if not allow_unpinned:
            raise OtherOption(_refusal(source, wanted, found, digest))
        status = "differs"
    marks = []
    if found.variant is not source.default:
        marks.append(f"{source.name} is {found.variant.note}.")
    if differs:
        marks.append(
            f"{source.name} is not the pinned data ({_size(len(found.rows), digest)} instead of "
            f"{_size(found.variant.rows, found.variant.digest)})."
        )
    return Loaded(
        source=source.name,
        variant=found.variant.name,
        rows=CompactRows(found.rows),
        where=found.where,
        origin=found.origin,
        digest=digest,
        pinned_rows=wanted.rows,
        pinned_digest=wanted.digest,
        status=status,
        marks=marks,
    )


def _find(source: Source, wanted: Variant, data_dir: Path | None, allow_unpinned: bool) -> _Found:
    paths = local_files(wanted, data_dir)
    if paths:
        return _from_files(wanted, paths)
    for other in source.variants:
        paths = local_files(other, data_dir) if other is not wanted else []
        if paths and allow_unpinned:
            return _from_files(other, paths)
        if paths:
            raise OtherOption(
                f"source {source.name!r}: {data_dir} holds only its variant {other.name!r} "
                f"({paths[0].name}), not {wanted.name!r}; take that with "
                f"--variant {source.name}={other.name}, or add {wanted.layouts[0][0]}.",
                other.name,
            )
    layout = " or ".join(files[0] for files in wanted.layouts)
    if wanted.hub is None:
        raise BadInput(
            f"source {source.name!r}: its variant {wanted.name!r} is not on the hub; put {layout} "
            "into a folder and name that with --data-dir."
        )
    rows = wanted.hub.read(hub_files.fetch(source.name, wanted.hub, layout))
    return _Found(wanted, rows, str(wanted.hub), "hub")


def _from_files(variant: Variant, paths: list[Path]) -> _Found:
    where = str(paths[0])
    if len(paths) > 1:
        where = f"{os.path.commonpath(paths)} ({len(paths)} files)"
    return _Found(variant, variant.read(paths), where, "files")


def _differs(variant: Variant, rows: int, digest: str) -> bool:
    return (variant.rows is not None and rows != variant.rows) or (
        variant.digest is not None and digest != variant.digest
    )


def _refusal(source: Source, wanted: Variant, found: _Found, digest: str) -> str:
    return (
        f"source {source.name!r} (variant {wanted.name!r}) from {found.where} is not the expected "
        f"data: expected {_size(wanted.rows, wanted.digest)}, found "
        f"{_size(len(found.rows), digest)}; fetch it again from {source.homepage}; evaluate "
        "--allow-unpinned uses it as it is, marked in the results."
    )


def _size(rows: int | None, digest: str | None) -> str:
    counted = f"{rows} rows" if rows is not None else "an unknown number of rows"
    return f"{counted} with digest {digest[:12] if digest else 'unknown'}"


@cache
def _mini(source: Source) -> Loaded:
    path = MINI / f"{source.name}.jsonl"
    if not path.is_file():
        raise BadInput(
            f"source {source.name!r} has no bundled items; its task goes into a suite with "
            "'data: real'."
        )
    fields = source.fields
    rows = [{name: value(record, name) for name in fields} for record in jsonl_records(path)]
    return Loaded(
        source=source.name,
        variant="mini",
        rows=rows,
        where="bundled mini items",
        origin="mini",
        digest=source.digest(rows),
        pinned_rows=None,
        pinned_digest=None,
        status="demonstration",
        marks=[f"{source.name} is a demonstration: items written for this project, not the data."],
    )
