"""Prompts to red-team with, from a file or a source."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.foreign import foreign_bytes
from bfpo_bench.data import load_source
from bfpo_bench.judges.human_labels import Table, decode, read_table
from bfpo_bench.judges.protocol import is_unicode
from bfpo_bench.tasks.catalog import all_sources, find_source
from bfpo_bench.training.data.fields import MORE, SYSTEMS

PROMPT_NAMES = ("prompt", "goal", "behavior", "instruction", "question", "request", "text")
CATEGORY_NAMES = ("category", "semanticcategory", "harm_category", "type")

NO_CATEGORY = ""


@dataclass(frozen=True)
class Prompt:
    """A prompt; its id depends on its text alone.

    Attributes:
        category: as its file has it, ``""`` where that has none.
    """

    id: str
    text: str
    category: str


@dataclass(frozen=True)
class PromptSet:
    """The prompts that are asked, in the order of their file.

    Attributes:
        where: file or source.
        rows: rows found there.
        blank: rows without a prompt.
        repeated: rows whose prompt stood in one before.
        left_out: prompts beyond the limits.
        marks: what a reader of numbers on these prompts must know of the data.
    """

    prompts: list[Prompt]
    where: str
    rows: int
    blank: int
    repeated: int
    left_out: int
    marks: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """sha256 over prompts and categories, in order."""
        content = json.dumps([(p.text, p.category) for p in self.prompts])
        return hashlib.sha256(content.encode("ascii")).hexdigest()


def read_prompts(
    where: str,
    *,
    seed: int,
    limit: int | None = None,
    per_category: int | None = None,
    prompt_column: str | None = None,
    category_column: str | None = None,
    data_dir: Path | None = None,
    variant: str | None = None,
    allow_unpinned: bool = False,
) -> PromptSet:
    """Reads the prompts, drops repeats, and draws what the limits leave.

    Args:
        where: a file, or a source of the package, which comes with the last three arguments.
        seed: of the draw.
        limit: at most so many prompts.
        per_category: at most so many of a category.
        prompt_column, category_column: of a file; None finds one of the usual names.

    Raises:
        BadInput: no such file, source or column, or nothing in it.
    """
    path = Path(where).expanduser()
    marks: tuple[str, ...] = ()
    if path.is_file():
        rows = _from_file(path, prompt_column, category_column)
    else:
        prompt_field, category_field = _source_fields(where, prompt_column or category_column)
        loaded = load_source(
            find_source(where),
            data_dir=data_dir,
            variant=variant,
            allow_unpinned=allow_unpinned,
        )
        rows = [
            (row[prompt_field], row[category_field] if category_field else NO_CATEGORY)
            for row in loaded.rows
        ]
        marks = tuple(loaded.marks)
    by_id: dict[str, Prompt] = {}
    blank = 0
    for found, category in rows:
        if not found.strip():
            blank += 1
            continue
        name = hashlib.sha256(found.encode()).hexdigest()[:16]
        by_id.setdefault(name, Prompt(name, found, category))
    if not by_id:
        raise BadInput(f"{where} holds no prompt ({len(rows)} rows); give another file.")
    unique = list(by_id.values())
    chosen = _limited(unique, seed, limit, per_category)
    return PromptSet(
        prompts=chosen,
        where=where,
        rows=len(rows),
        blank=blank,
        repeated=len(rows) - blank - len(unique),
        left_out=len(unique) - len(chosen),
        marks=marks,
    )


def _from_file(
    path: Path, prompt_column: str | None, category_column: str | None
) -> list[tuple[str, str]]:
    try:
        data = foreign_bytes(path)
    except OSError as error:
        raise BadInput(
            f"the prompt file {path} cannot be read ({error.strerror}); mend its permissions."
        ) from error
    if not data.strip():
        raise BadInput(f"the prompt file {path} is empty; give one with prompts.")
    if path.suffix.lower() == ".txt":
        if prompt_column or category_column:
            raise BadInput(
                f"{path} is read as one prompt a line and has no columns; leave --prompt-column "
                "and --category-column out, or give CSV, JSON or JSON lines."
            )
        text, _ = decode(data, str(path))
        return [(line, NO_CATEGORY) for line in text.splitlines()]
    table = read_table(path)
    if prompt_column is None:
        prompt_column = _named(table.columns, PROMPT_NAMES)
        if prompt_column is None:
            raise BadInput(
                f"which column of {path} holds the prompts cannot be told (it has "
                f"{', '.join(map(repr, table.columns[:12]))}); name it with --prompt-column."
            )
        _check_beside(table, prompt_column)
    prompts = table.texts(prompt_column)
    for row, prompt in enumerate(prompts, table.first):
        if not is_unicode(prompt):
            raise BadInput(
                f"{path}, row {row}: {prompt_column} holds half a surrogate pair, which is no "
                "Unicode text; mend the row or take it out."
            )
    category_column = category_column or _named(table.columns, CATEGORY_NAMES)
    if category_column is None:
        return [(prompt, NO_CATEGORY) for prompt in prompts]
    categories = map(_category, table.column(category_column))
    return list(zip(prompts, categories, strict=True))


def _check_beside(table: Table, prompt_column: str) -> None:
    """Asks for texts that belong to the prompts beside them, which would be left out unsaid."""
    for column in table.columns:
        if column.casefold() not in (*MORE, *SYSTEMS, "history") or column == prompt_column:
            continue
        if any(value not in (None, []) and str(value).strip() for value in table.column(column)):
            raise BadInput(
                f"{table.path} has texts in the column {column!r} beside {prompt_column!r}, and "
                "only one column is asked; write them into one, or name that one with "
                "--prompt-column."
            )


def _named(columns: Sequence[str], names: Sequence[str]) -> str | None:
    lower = {column.casefold(): column for column in columns}
    return next((lower[name] for name in names if name in lower), None)


def _category(value: Any) -> str:
    if value is None:
        return NO_CATEGORY
    if isinstance(value, list):
        return ", ".join(str(part) for part in value)
    return value.strip() if isinstance(value, str) else json.dumps(value)


def _source_fields(name: str, column: str | None) -> tuple[str, str | None]:
    """The fields of prompt and category in a source; `column` is what the user named, if any."""
    fields = {
        source.name: (source.prompt, source.category)
        for source in all_sources().values()
        if source.prompt is not None
    }
    if "." in name or "/" in name:
        raise BadInput(
            f"there is no prompt file {name!r}; give the path of one, or a source: "
            f"{', '.join(fields)}."
        )
    if name not in fields:
        raise unknown_name("source of prompts", name, fields)
    if column:
        raise BadInput(
            f"the source {name} knows its own columns; --prompt-column and --category-column go "
            "with a file."
        )
    return fields[name]


def _limited(
    prompts: list[Prompt], seed: int, limit: int | None, per_category: int | None
) -> list[Prompt]:
    """The prompts with the smallest hashes, in their own order; as `load_tasks` chooses items."""

    def rank(prompt: Prompt) -> bytes:
        return hashlib.sha256(f"{seed}\0redteam\0{prompt.id}".encode()).digest()

    seen: Counter[str] = Counter()
    kept = []
    for prompt in sorted(prompts, key=rank):
        seen[prompt.category] += 1
        if per_category is None or seen[prompt.category] <= per_category:
            kept.append(prompt.id)
    wanted = set(kept[:limit])
    return [prompt for prompt in prompts if prompt.id in wanted]
