"""What a preference data set says about two responses, whatever format it is written in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Messages = tuple[tuple[str, str], ...]
"""(role, content) of each message of a conversation, in order."""


@dataclass(frozen=True)
class PreferenceRecord:
    """One row of preference data. :mod:`bfpo_bench.training.data` makes them.

    Attributes:
        prompt: the conversation up to and including the user's turn that was answered.
        responses: two different, non-empty answers to it.
        more_helpful: 0 or 1, the more helpful response; None when the data does not say.
        safe: whether each response is safe; None where the data does not say.
        safer: 0 or 1, the safer response; None when the data does not say and both responses have
            the same safety label (or none).
        source: name of the set, as in the recipe.
        where: where the row stands, for messages.
    """

    prompt: Messages
    responses: tuple[str, str]
    more_helpful: int | None
    safe: tuple[bool | None, bool | None]
    safer: int | None
    source: str
    where: str


@dataclass(frozen=True)
class PreferenceSet:
    """Where a set's rows come from, and how they are read.

    Attributes:
        name: what recipe, messages and logs call the set.
        files: local files (``.json``, ``.jsonl`` or ``.parquet``), read in this order as one set.
        hub: dataset id on the Hugging Face hub, instead of files.
        split: split of the hub's data set. None: the training split that the paper used where
            the data set is the paper's (``readers.PINNED``), else ``"train"``.
        revision: commit of the hub's data set. None: the pinned one, else its main branch.
        format: one of ``readers.FORMATS``. None: told by the fields of each file's first row.
        limit: number of records to keep at most, drawn by ``seed`` from the whole set. A smaller
            limit keeps a part of what a larger one keeps.
        seed: of that draw.
        skip_bad_rows: leave out the rows that cannot be used, and count them. Otherwise they are
            an error.
        ignore_fields: fields of its rows that are no part of the conversation, though they look
            like it; see :mod:`bfpo_bench.training.data.columns`.
        all_safe: every response whose safety the data does not state counts as safe, as the paper
            has it for UltraFeedback.
    """

    name: str
    files: tuple[Path, ...] = ()
    hub: str | None = None
    split: str | None = None
    revision: str | None = None
    format: str | None = None
    limit: int | None = None
    seed: int = 42
    skip_bad_rows: bool = False
    ignore_fields: tuple[str, ...] = ()
    all_safe: bool = False


@dataclass(frozen=True)
class LoadedSet:
    """The records of a set, and what became of its rows.

    Attributes:
        name: the set's.
        records: in the order of files and rows.
        rows: number of rows found, the bad ones and those beyond the limit included.
        bad: one sentence for each row that was skipped, with its place.
        formats: how each file was read; one entry for the hub.
    """

    name: str
    records: list[PreferenceRecord]
    rows: int
    bad: list[str]
    formats: tuple[str, ...]
