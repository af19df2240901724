"""Prompts to red-team with: from any file, or from a source of the package."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.data import load_source
from bfpo_bench.judges.encoding import decode
from bfpo_bench.judges.human_labels import Table, read_table
from bfpo_bench.judges.template import is_unicode
from bfpo_bench.redteam.options import RedteamOptions
from bfpo_bench.tasks.catalog import find_source
from bfpo_bench.training.data.fields import MORE, SYSTEMS

PROMPT_NAMES = ("prompt", "goal", "behavior", "instruction", "question", "request", "text")
CATEGORY_NAMES = ("category", "semanticcategory", "harm_category", "type")

SOURCE_FIELDS: Mapping[str, tuple[str, str | None]] = {
    "advbench": ("goal", None),
    "alert": ("prompt", "category"),
    "alert_adversarial": ("prompt", "category"),
    "realtoxicityprompts": ("prompt", None),
    "alpaca_eval": ("instruction", "dataset"),
}
"""Sources that hold prompts: the field of the prompt, and that of its category."""

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


def read_prompts(options: RedteamOptions) -> PromptSet:
    """Reads the prompts, drops repeats, and draws what the limits leave.

    Raises:
        BadInput: no such file, source or column, or nothing in it.
    """
    path = Path(options.prompts).expanduser()
    marks: tuple[str, ...] = ()
    if path.is_file():
        rows = _from_file(path, options.prompt_column, options.category_column)
    else:
        rows, marks = _from_source(options)
    by_id: dict[str, Prompt] = {}
    blank = 0
    for found, category in rows:
        if not found.strip():
            blank += 1
            continue
        name = hashlib.sha256(found.encode()).hexdigest()[:16]
        by_id.setdefault(name, Prompt(name, found, category))
    if not by_id:
        raise BadInput(f"{options.prompts} holds no prompt ({len(rows)} rows); give another file.")
    unique = list(by_id.values())
    chosen = _limited(unique, options.seed, options.limit, options.max_per_category)
    return PromptSet(
        prompts=chosen,
        where=options.prompts,
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
        data = path.read_bytes()
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
        prompt_column = _prompt_column(path, table.columns)
        _check_beside(table, prompt_column)
    prompts = table.texts(prompt_column)
    for row, prompt in enumerate(prompts, table.first):
        if not is_unicode(prompt):
            raise BadInput(
                f"{path}, row {row}: {prompt_column} holds half a surrogate pair, which is no "
                "Unicode text; mend the row or take it out."
            )
    if category_column is None:
        category_column = _named(table.columns, CATEGORY_NAMES)
    if category_column is None:
        return [(prompt, NO_CATEGORY) for prompt in prompts]
    categories = map(_category, table.column(category_column))
    return list(zip(prompts, categories, strict=True))


def _prompt_column(path: Path, columns: Sequence[str]) -> str:
    found = _named(columns, PROMPT_NAMES)
    if found is None:
        raise BadInput(
            f"which column of {path} holds the prompts cannot be told (it has "
            f"{', '.join(map(repr, columns[:12]))}); name it with --prompt-column."
        )
    return found


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


def _from_source(options: RedteamOptions) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    name = options.prompts
    if "." in name or "/" in name:
        raise BadInput(
            f"there is no prompt file {name!r}; give the path of one, or a source: "
            f"{', '.join(SOURCE_FIELDS)}."
        )
    if name not in SOURCE_FIELDS:
        raise unknown_name("source of prompts", name, SOURCE_FIELDS)
    if options.prompt_column or options.category_column:
        raise BadInput(
            f"the source {name} knows its own columns; --prompt-column and --category-column go "
            "with a file."
        )
    loaded = load_source(
        find_source(name),
        data_dir=options.data_dir,
        variant=options.variants.get(name),
        allow_unpinned=options.allow_unpinned,
    )
    prompt, category = SOURCE_FIELDS[name]
    rows = [(row[prompt], row[category] if category else NO_CATEGORY) for row in loaded.rows]
    return rows, tuple(loaded.marks)


def _limited(
    prompts: list[Prompt], seed: int, limit: int | None, per_category: int | None
) -> list[Prompt]:
    """The prompts with the smallest hashes, in their own order; as `load_tasks` chooses items."""

    def rank(prompt: Prompt) -> bytes:
        return hashlib.sha256(f"{seed}\0redteam\0{prompt.id}".encode()).digest()

    kept = sorted(prompts, key=rank)
    if per_category is not None:
        seen: dict[str, int] = {}
        within = []
        for prompt in kept:
            seen[prompt.category] = seen.get(prompt.category, 0) + 1
            if seen[prompt.category] <= per_category:
                within.append(prompt)
        kept = within
    wanted = {prompt.id for prompt in kept[:limit]}
    return [prompt for prompt in prompts if prompt.id in wanted]
