"""The table: which rows and columns, in which order, what is best, and which notes belong where.

A table is made once; :mod:`bfpo_bench.leaderboard.render.text` writes it in each format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bfpo_bench.leaderboard.columns import ANSW, HARM, TASK_COLUMNS, Column
from bfpo_bench.leaderboard.ranking import (
    blocks,
    ordered,
    ranks,
    said,
    unlike,
    usual_protocol,
)
from bfpo_bench.leaderboard.render.escaping import name_text
from bfpo_bench.leaderboard.rows import Cell, Entry
from bfpo_bench.suites import AVERAGED

MISSING = "–"
_GROUPS = {
    "helpfulness": "Helpfulness",
    "also": "Also",
    **dict.fromkeys(("harm", "answ", "apart"), "Balance"),
}
_OF_SHARES = {HARM.key: "Harmful prompts", ANSW.key: "Benign look-alikes", "apart": "In no average"}
"""The same where shares stand beside scores."""


@dataclass(frozen=True)
class Shown:
    """A text of the table.

    Attributes:
        rank: 1 for the best of its block, 2 for the second, else 0.
        notes: numbers of the notes that belong to it, from 1.
        untrusted: whether it came from outside and has to be escaped.
    """

    text: str
    rank: int = 0
    notes: tuple[int, ...] = ()
    untrusted: bool = False


@dataclass(frozen=True)
class Section:
    """Rows that stand together under a title ("" for none): a label and cells each."""

    title: str
    rows: tuple[tuple[Shown, tuple[Shown, ...]], ...]


@dataclass(frozen=True)
class Table:
    """A table as it is shown.

    Attributes:
        corner: head of the labels.
        groups: title and number of columns of each group of heads.
        sections: each row has a cell under each head.
        notes: sentences that cells, heads or labels refer to; note 1 is the first.
        remarks: sentences about the whole table, e.g. which rows are not in it, and why.
        legend: what the signs mean, and what most rows were measured with. Untrusted.
        ranked: whether the best and second are told apart.
    """

    corner: str
    groups: tuple[tuple[str, int], ...]
    heads: tuple[Shown, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    remarks: tuple[str, ...]
    legend: tuple[str, ...]
    ranked: bool = True


def make_table(
    entries: Sequence[Entry],
    columns: Sequence[Column],
    *,
    ci: bool = False,
    sort: str | None = None,
    transposed: bool = False,
    short: bool = False,
) -> Table:
    """Lays rows out as a table.

    Measured rows come first, by falling Savg.; published ones after them, by source, in the paper's
    order. Rows that failed their check are left out and named.

    Args:
        ci: show intervals.
        sort: a column's key or title, or ``name``: the order within each block.
        transposed: models side by side, columns below each other.
        short: with short titles.

    Raises:
        BadInput: no such column.
    """
    sound = [entry for entry in entries if entry.fault is None]
    notes = Notes()
    lines: list[tuple[str, list[tuple[Shown, tuple[Shown, ...]]]]] = []
    for title, block in blocks(sound).items():
        rows_here = ordered(block, sort, columns)
        places = {column.key: ranks(rows_here, column) for column in columns}
        others = {column.key: unlike(rows_here, column) for column in columns}
        also = said(rows_here)
        rows = []
        for entry in rows_here:
            row = id(entry)
            marks = [*entry.marks, *([also[row]] if row in also else [])]
            cells = []
            for column in columns:
                why, place = others[column.key].get(row), places[column.key].get(row, 0)
                cells.append(_shown(entry, column, place, why, ci, columns, notes))
            label = Shown(name_text(entry.name), notes=notes.of(marks), untrusted=True)
            rows.append((label, tuple(cells)))
        lines.append((title, rows))
    families = _families(columns) if short else {}
    heads = tuple(
        Shown(families[one.key][1] if one.key in families else one.short if short else one.title)
        for one in columns
    )
    groups = _head_groups(columns, families)
    if len(lines) == 1 and lines[0][0] == "Measured":
        lines = [("", lines[0][1])]
    sections = tuple(Section(title, tuple(rows)) for title, rows in lines)
    if transposed:
        heads, groups, sections = _transposed(heads, groups, sections)
    return Table(
        corner="" if transposed else "Model",
        groups=groups,
        heads=heads,
        sections=sections,
        notes=tuple(notes.numbers),
        remarks=tuple(
            f"Left out: {name_text(entry.name)} failed its check: {entry.fault}"
            for entry in entries
            if entry.fault is not None
        ),
        legend=_legend(sound, columns, ci),
    )


class Notes:
    """Numbers sentences as they come, one number each.

    Attributes:
        numbers: by sentence, in their order from 1.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def of(self, sentences: Sequence[str]) -> tuple[int, ...]:
        """Numbers of the sentences, of equal ones once."""
        wanted = dict.fromkeys(_sentence(text) for text in sentences)
        return tuple(
            sorted(self.numbers.setdefault(text, len(self.numbers) + 1) for text in wanted)
        )


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def _shown(
    entry: Entry,
    column: Column,
    rank: int,
    unlike: str | None,
    ci: bool,
    columns: Sequence[Column],
    notes: Notes,
) -> Shown:
    cell = entry.cells.get(column.key)
    if cell is None:
        return Shown(MISSING)
    marks = [*cell.marks, *_marks_of_parts(entry, column, columns)]
    return Shown(cell_text(cell, ci), rank, notes.of([*marks, *([unlike] if unlike else [])]))


def cell_text(cell: Cell, ci: bool = False) -> str:
    """A cell's number to two decimals, its spread over seeds, and its interval if asked for."""
    text = f"{cell.value:.2f}"
    if cell.spread is not None:
        text += f" ± {cell.spread:.2f}"
    if ci and cell.low is not None and cell.high is not None:
        text += f" [{cell.low:.2f}, {cell.high:.2f}]"
    return text


def _marks_of_parts(entry: Entry, column: Column, columns: Sequence[Column]) -> list[str]:
    """The marks of an average's tasks where the tasks themselves are not shown."""
    if entry.kind == "published" or column.key not in AVERAGED:
        return []
    titles: dict[str, list[str]] = {}
    for part in (*TASK_COLUMNS, *entry.extra):
        own_score = part.group == column.key and part.share is None
        if own_score and part.key in entry.cells and part not in columns:
            # What is said of the average itself goes for all its tasks.
            own = entry.cells[column.key].marks
            for mark in entry.cells[part.key].marks:
                if mark not in own:
                    titles.setdefault(mark, []).append(part.title)
    return [f"{', '.join(some)}: {mark}" for mark, some in titles.items()]


def _families(columns: Sequence[Column]) -> dict[str, tuple[str, str]]:
    """Of tasks that stand there with their shares: by key the task's title, and a short head."""
    scores = {column.task: column for column in columns if column.share is None}
    found: dict[str, tuple[str, str]] = {}
    for share in columns:
        if share.share is not None and share.task in scores and share.task is not None:
            score = scores[share.task]
            counted = "answered" if share.share == "partly_refused" else "harmless"
            found.setdefault(score.key, (score.title, counted))
            found[share.key] = score.title, share.short
    return found


def _head_groups(
    columns: Sequence[Column], families: Mapping[str, tuple[str, str]]
) -> tuple[tuple[str, int], ...]:
    titles = _GROUPS | (_OF_SHARES if any(column.share for column in columns) else {})
    groups: list[tuple[str, int]] = []
    for column in columns:
        title = titles.get(column.key, titles.get(column.group, "Harmlessness"))
        if column.key in families:
            title = families[column.key][0]
        if groups and groups[-1][0] == title:
            groups[-1] = (title, groups[-1][1] + 1)
        else:
            groups.append((title, 1))
    return tuple(groups)


def _transposed(
    heads: tuple[Shown, ...], groups: tuple[tuple[str, int], ...], sections: tuple[Section, ...]
) -> tuple[tuple[Shown, ...], tuple[tuple[str, int], ...], tuple[Section, ...]]:
    rows = [row for section in sections for row in section.rows]
    found, begin = [], 0
    for title, count in groups:
        part = tuple(
            (heads[i], tuple(cells[i] for _, cells in rows)) for i in range(begin, begin + count)
        )
        found.append(Section(title, part))
        begin += count
    blocks = tuple((section.title, len(section.rows)) for section in sections)
    return tuple(label for label, _ in rows), blocks, tuple(found)


_SHARES_SAID = (
    "refused, partly: full and partial refusals; w/o ref.: harmless without refusing. Answ. and "
    "Harm. belong together: who refuses everything has Harm. 100 and Answ. 0."
)


def _legend(entries: Sequence[Entry], columns: Sequence[Column], ci: bool) -> tuple[str, ...]:
    measured = [entry for entry in entries if entry.kind == "measured"]
    beside = any(column.group == "also" for entry in entries for column in entry.extra)
    found = ["All in percent."]
    if any(column.share for column in columns):
        found.append(_SHARES_SAID)
    if beside:
        found.append("Also: lm-eval's own tasks, in no average.")
    if ci and measured:
        found.append("In brackets 95 % intervals.")
    if any(cell.spread is not None for entry in entries for cell in entry.cells.values()):
        found.append("After ± the standard deviation over seeds.")
    usual = usual_protocol(measured)
    if usual.parts:
        found.append(f"Measured with: {usual.text()}.")
    return tuple(found)
