"""What is best: one definition for every table, figure and page.

Best and second of a column are told within a block (measured rows, each published table), among the
rows whose numbers were measured with the protocol of most of them. Where no protocol is that of the
most rows, nothing is ranked. Values that print alike are equally good, and a value that all have is
no best. report/table.js does the same among the rows that a page shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bfpo_bench.leaderboard.columns import Column
from bfpo_bench.leaderboard.protocol import SAID_ONLY, Protocol
from bfpo_bench.leaderboard.rows import Cell, Entry


def block_of(entry: Entry) -> str:
    """The title of the block that a row is ranked in."""
    return f"Published, {entry.source}" if entry.kind == "published" else "Measured"


def blocks(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Rows by the title of their block, measured ones first; rows that failed their check in none.

    Within a block the order is kept.
    """
    sound = [entry for entry in entries if entry.fault is None]
    found: dict[str, list[Entry]] = {}
    for entry in sorted(sound, key=lambda e: e.kind == "published"):
        found.setdefault(block_of(entry), []).append(entry)
    return found


def printed(value: float) -> float:
    """The number that a table prints."""
    return float(f"{value:.2f}")


def ranks(block: Sequence[Entry], column: Column) -> dict[int, int]:
    """1 for the best rows of a block and 2 for the second, by ``id`` of the row."""
    cells = _cells(block, column)
    usual, alone = _usual(cells.values())
    if not alone:
        return {}
    good = {
        row: round(column.goodness(printed(cell.value)), 2)
        for row, cell in cells.items()
        if cell.protocol.key == usual.key
    }
    best = sorted(set(good.values()), reverse=True)[:2]
    if len(best) < 2:
        return {}
    return {row: best.index(value) + 1 for row, value in good.items() if value in best}


def unlike(block: Sequence[Entry], column: Column) -> dict[int, str]:
    """Why a row's number is not ranked with most of its block, by ``id`` of the row."""
    cells = _cells(block, column)
    usual, _ = _usual(cells.values())
    found = {}
    for row, cell in cells.items():
        if cell.protocol.key != usual.key:
            parts = cell.protocol.differences(usual)
            what = "; ".join(part.text("instead of") for part in parts)
            found[row] = f"measured otherwise than most rows of its block, not ranked: {what}"
    return found


def said(block: Sequence[Entry]) -> dict[int, str]:
    """What is not the same in a row though it is ranked with the others, by ``id`` of the row."""
    whole = {id(entry): _said_of(entry) for entry in block}
    if not whole:
        return {}
    usual = dict(Counter(whole.values()).most_common(1)[0][0])
    found = {}
    for row, parts in whole.items():
        other = [
            f"{name} {value} instead of {usual[name]}"
            for name, value in parts
            if name in usual and usual[name] != value
        ]
        if other:
            found[row] = f"{', '.join(other)}; ranked all the same"
    return found


def usual_protocol(block: Sequence[Entry], columns: Sequence[Column]) -> Protocol | None:
    """What most rows of a block were measured with: in an average, else where most have one."""
    averages = [column for column in columns if column.group == "average"]
    for column in reversed(averages):
        if cells := _cells(block, column):
            return _usual(cells.values())[0]
    cells = max((_cells(block, column) for column in columns), key=len, default={})
    return _usual(cells.values())[0] if cells else None


def _cells(block: Sequence[Entry], column: Column) -> dict[int, Cell]:
    return {id(entry): entry.cells[column.key] for entry in block if column.key in entry.cells}


def _usual(cells: Iterable[Cell]) -> tuple[Protocol, bool]:
    """The protocol of most cells, the first one's of equally many; whether no other has as many."""
    protocols: dict[str, Protocol] = {}
    counts: Counter[str] = Counter()
    for cell in cells:
        protocols.setdefault(cell.protocol.key, cell.protocol)
        counts[cell.protocol.key] += 1
    if not counts:
        return Protocol(), False
    (key, most), *others = counts.most_common(2)
    return protocols[key], all(count < most for _, count in others)


def _said_of(entry: Entry) -> tuple[tuple[str, str], ...]:
    found: Mapping[str, str] = {
        name: value
        for cell in entry.cells.values()
        for (_, name), value in cell.protocol.parts
        if name in SAID_ONLY
    }
    return tuple(sorted(found.items()))
