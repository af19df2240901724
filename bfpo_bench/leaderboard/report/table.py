"""The leaderboard as an HTML table that reads well before any script has run.

The page's script sorts and filters it and marks the best values among the rows that are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from bfpo_bench.leaderboard.column_choice import choose_columns
from bfpo_bench.leaderboard.columns import GEN, GEN_CORRECTED, SAVG, SUMMARY, Column
from bfpo_bench.leaderboard.ranking import block_of, blocks, said, unlike
from bfpo_bench.leaderboard.report.markup import attribute, text
from bfpo_bench.leaderboard.rows import Cell, Entry

_SUMMARY_KEYS = {column.key for column in SUMMARY}


def table_html(entries: Sequence[Entry]) -> str:
    """The table with its notes: best Savg. first, rows that failed their check last."""
    columns = _columns(entries)
    notes = _Notes()
    ordered = _ordered(entries)
    marks: dict[tuple[int, str], str] = {}
    for block in blocks(ordered).values():
        marks |= {(row, ""): mark for row, mark in said(block).items()}
        for column in columns:
            marks |= {(row, column.key): mark for row, mark in unlike(block, column).items()}
    rows = "".join(_row(entry, columns, marks, notes) for entry in ordered)
    heads = "".join(_head(column) for column in columns)
    groups = "".join(
        f'<th scope="colgroup" class="{" ".join(_classes(first))}" colspan="{count}">'
        f"<span>{title}</span></th>"
        for title, first, count in _groups(columns)
    )
    return (
        '<div class="scroll" id="board-box" tabindex="0" role="region" aria-label="Leaderboard">'
        '<table id="board"><thead>'
        f'<tr class="groups"><td></td>{groups}</tr>'
        f'<tr><th scope="col" data-key="name"><button type="button">Model</button></th>{heads}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div>{notes.html()}"
    )


class _Notes:
    """Numbers the sentences that belong to rows and cells; equal ones share a number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def refer(self, sentences: Sequence[str]) -> str:
        """Superscript links to the sentences."""
        links = []
        for sentence in sentences:
            number = self._numbers.setdefault(sentence, len(self._numbers) + 1)
            links.append(f'<a href="#note-{number}" aria-label="note {number}">{number}</a>')
        return f"<sup>{' '.join(links)}</sup>" if links else ""

    def html(self) -> str:
        """The sentences, in order."""
        items = "".join(
            f'<li id="note-{number}" tabindex="-1">{text(sentence)}</li>'
            for sentence, number in self._numbers.items()
        )
        if not items:
            return ""
        return (
            f'<details id="notes"><summary>Notes to rows and cells ({len(self._numbers)})</summary>'
            f"<ol>{items}</ol></details>"
        )


def _columns(entries: Sequence[Entry]) -> list[Column]:
    """The columns of the full table that any row has a number in, and those of the summary."""
    there = {key for entry in entries for key in entry.cells} | _SUMMARY_KEYS
    return [column for column in choose_columns(entries, full=True) if column.key in there]


def _ordered(entries: Sequence[Entry]) -> list[Entry]:
    def place(entry: Entry) -> tuple[bool, bool, float]:
        cell = entry.cells.get(SAVG.key)
        return entry.fault is not None, cell is None, -cell.value if cell else 0.0

    return sorted(entries, key=place)


def _groups(columns: Sequence[Column]) -> list[tuple[str, Column, int]]:
    """Title, first column and width of each heading over neighbouring columns."""
    found = []
    for title, run in groupby(columns, key=_group):
        members = list(run)
        found.append((title, members[0], len(members)))
    return found


def _group(column: Column) -> str:
    if column.group == "helpfulness":
        return "Helpfulness"
    if column is SAVG:
        return "Overall"
    answering = column.group == "gen" or column in (GEN, GEN_CORRECTED)
    return f"Harmlessness: {'answering' if answering else 'choosing'}"


def _classes(column: Column) -> list[str]:
    return ["summary" if column.key in _SUMMARY_KEYS else "task"]


def _head(column: Column) -> str:
    hints = {
        "higher": "higher is better",
        "lower": "lower is better",
        "nearer-50": "nearest to 50 is best; enters Disc. as it is",
    }
    return (
        f'<th scope="col" class="{" ".join(_classes(column))}" data-key="{attribute(column.key)}" '
        f'data-direction="{column.direction}">'
        f'<button type="button" title="{attribute(column.title)}: {hints[column.direction]}">'
        f"{text(column.title)}</button></th>"
    )


def _row(
    entry: Entry,
    columns: Sequence[Column],
    marks: Mapping[tuple[int, str], str],
    notes: _Notes,
) -> str:
    def marked(own: Sequence[str], key: str = "") -> list[str]:
        return [*own, *([marks[id(entry), key]] if (id(entry), key) in marks else [])]

    fault = ""
    if entry.fault is not None:
        fault = f'<small class="fault">left out of the ranking: {text(entry.fault)}</small>'
    name = (
        f'<th scope="row">{text(entry.name)}{notes.refer(marked(entry.marks))}{fault}'
        f"<small>{entry.kind} · {text(entry.source)}</small></th>"
    )
    cells = "".join(
        _cell(cell, column, notes.refer(marked(cell.marks, column.key)))
        if (cell := entry.cells.get(column.key)) is not None
        else _no_cell(column)
        for column in columns
    )
    return (
        f'<tr data-name="{attribute(entry.name)}" data-kind="{entry.kind}" '
        f'data-block="{attribute(block_of(entry))}" '
        f"{'data-fault' if entry.fault is not None else ''}>{name}{cells}</tr>"
    )


def _no_cell(column: Column) -> str:
    kind = " ".join(_classes(column))
    return f'<td class="{kind} none"><span aria-label="not there">–</span></td>'


def _cell(cell: Cell, column: Column, notes: str) -> str:
    kind = " ".join(_classes(column))
    spread = f'<span class="spread"> ± {cell.spread:.2f}</span>' if cell.spread is not None else ""
    interval = ""
    if cell.low is not None and cell.high is not None:
        interval = f'<small class="interval">{cell.low:.1f} – {cell.high:.1f}</small>'
    known = [f"{cell.n:,} items"] if cell.n is not None else []
    known += [f"measured with {cell.protocol.text()}"] if cell.protocol.parts else []
    title = f' title="{attribute("; ".join(known))}"' if known else ""
    return (
        f'<td class="{kind}" data-value="{float(cell.value)!r}" '
        f'data-protocol="{cell.protocol.key}"{title}><span class="value">'
        f"{cell.value:.2f}</span>{spread}{notes}{interval}</td>"
    )
