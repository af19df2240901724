"""What a source declares: its fields, its variants, where each can be had, and what its rows are.

A source's digest is the sha256 over the sorted canonical JSON lines of its rows: it does not
depend on the order of rows, on the file format or on fields that no task reads, so a hub copy, a
mirror and the published file of the same data agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bfpo_bench.common.errors import unknown_name
from bfpo_bench.data.files import Record

Row = dict[str, Any]
"""A canonical row: plain str, int, float, or lists of them, under the source's field names."""

Status = Literal["pinned", "unverified", "differs", "demonstration"]


@dataclass(frozen=True)
class Hub:
    """Data files on the Hugging Face hub, read through ``datasets`` and never by a script.

    Attributes:
        repo: dataset id, e.g. ``"allenai/winogrande"``.
        split: split to load.
        read: turns the split's rows into canonical rows.
        config: configuration name; None where the repository has only one, or with ``file``.
        revision: commit, tag or ref; None takes the main branch.
        file: path of one data file inside the repository, for repositories whose configurations
            cannot be loaded by name.
        builder: set (e.g. ``"json"``) when ``file`` must be opened by its address, because the
            repository also holds a loading script, at which ``datasets`` stops.
    """

    repo: str
    split: str
    read: Callable[[Iterable[Record]], list[Row]]
    config: str | None = None
    revision: str | None = None
    file: str | None = None
    builder: str | None = None

    def __str__(self) -> str:
        what = self.config or self.file or ""
        return f"{self.repo}@{self.revision or 'main'}{f' ({what})' if what else ''}"


@dataclass(frozen=True, eq=False)
class Variant:
    """One edition of a source, with what is known of its content.

    Attributes:
        name: how ``--variant source=name`` calls it.
        rows: number of rows that it must have; None when that is not known.
        digest: sha256 of its canonical rows (see :meth:`Source.digest`); None when no whole copy
            was at hand to compute it from.
        layouts: the upstream files, by absolute path or relative to the data folder. Each layout is
            one way in which the same data is published, and needs all its files.
        read: turns the files of a layout, in order, into canonical rows.
        hub: where it is on the hub, or None.
        note: for a variant that is not the default: what it is, and what the paper used.
    """

    name: str
    rows: int | None
    digest: str | None
    layouts: tuple[tuple[str, ...], ...]
    read: Callable[[Sequence[Path]], list[Row]]
    hub: Hub | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Source:
    """A data set that tasks read.

    Attributes:
        name: how tasks and options call it.
        variants: its editions; the first is the default, the one that the paper used.
        fields: canonical field name → type of its values.
        extras: the fields that are not part of the digest; ``""`` when unknown.
        licence: licence of the data as its publisher states it.
        homepage: where it comes from.
        key: the part of a row that digest and item ids are computed from; None for all fields
            that are not extras.
        prompt: the field of a prompt that red teaming can ask; None in a source without prompts.
        category: the field of the prompt's category.
    """

    name: str
    variants: tuple[Variant, ...]
    fields: Mapping[str, type]
    licence: str
    homepage: str
    extras: tuple[str, ...] = ()
    key: Callable[[Row], object] | None = None
    prompt: str | None = None
    category: str | None = None

    @property
    def default(self) -> Variant:
        """The variant that is read when none is named."""
        return self.variants[0]

    def variant(self, name: str | None) -> Variant:
        """A variant by name; the default one for None.

        Raises:
            BadInput: unknown name.
        """
        known = {variant.name: variant for variant in self.variants}
        if name is not None and name not in known:
            raise unknown_name(f"variant of {self.name}", name, known)
        return self.default if name is None else known[name]

    def line(self, row: Row) -> bytes:
        """The digested part of a row as ASCII JSON without blanks, keys in order."""
        if self.key is not None:
            part = self.key(row)
        else:
            part = {name: row[name] for name in self.fields if name not in self.extras}
        return _JSON.encode(part).encode("ascii")

    def digest(self, rows: Iterable[Row]) -> str:
        """sha256 (hex) of rows as a multiset."""
        sha = hashlib.sha256()
        for line in sorted(map(self.line, rows)):
            sha.update(line + b"\n")
        return sha.hexdigest()

    def ids(self, rows: Iterable[Row]) -> list[str]:
        """An id per row: 16 hex digits of its digested part; repeats get ``-2``, ``-3``, … in turn.

        An id depends on the row's content alone, not on where it came from or where it stands.
        """
        return named_by_content(map(self.line, rows))


def named_by_content(lines: Iterable[bytes]) -> list[str]:
    """An id for each line: the beginning of its hash; repeats get ``-2``, ``-3``, … in turn."""
    seen: dict[str, int] = {}
    ids = []
    for line in lines:
        base = hashlib.sha256(line).hexdigest()[:16]
        seen[base] = seen.get(base, 0) + 1
        ids.append(base if seen[base] == 1 else f"{base}-{seen[base]}")
    return ids


_JSON = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Loaded:
    """The rows of a source, and how far they are known to be the right ones.

    Attributes:
        source: name of the source.
        variant: name of the variant that was read.
        rows: canonical rows in the order of where they came from, made as they are asked for.
            They are shared between callers: do not change them.
        where: path, hub address or "bundled mini items", for people.
        origin: kind of place.
        digest: sha256 (hex) over the canonical rows.
        pinned_rows: rows that were expected, if known.
        pinned_digest: digest that was expected, if known.
        status: "pinned": rows and digest are the expected ones; "unverified": no digest is known
            to compare with; "differs": not the expected data, let through by ``allow_unpinned``;
            "demonstration": bundled items.
        marks: sentences that belong next to any number computed on these rows; empty when they
            are what the paper used.
    """

    source: str
    variant: str
    rows: Sequence[Row]
    where: str
    origin: Literal["files", "hub", "mini"]
    digest: str
    pinned_rows: int | None
    pinned_digest: str | None
    status: Status
    marks: list[str]
