"""What is best: one definition for every table, figure and page.

Best and second of a column are told within a block (measured rows, each published table), among the
rows whose numbers were measured with the protocol of most of them. Where no protocol is that of the
most rows, nothing is ranked. Values that print alike are equally good, and a value that all have is
no best. Trivial baselines are never ranked, nor is a column that is neither good nor bad.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bfpo_bench.leaderboard.columns import SAVG, Column, sort_key
from bfpo_bench.leaderboard.protocol import NOTHING, SAID_ONLY, Protocol
from bfpo_bench.leaderboard.rows import Cell, Entry

_BLOCKS = {"measured": "Measured", "baseline": "Trivial baselines, not ranked"}


def block_of(entry: Entry) -> str:
    """The title of the block that a row is ranked in."""
    return f"Published, {entry.source}" if entry.kind == "published" else _BLOCKS[entry.kind]


def blocks(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Rows by the title of their block: measured, baselines, published; faulty ones in none.

    Within a block the order is kept.
    """
    sound = [entry for entry in entries if entry.fault is None]
    found: dict[str, list[Entry]] = {}
    for entry in sorted(sound, key=lambda e: ("measured", "baseline", "published").index(e.kind)):
        found.setdefault(block_of(entry), []).append(entry)
    return found


def by_savg(entry: Entry) -> tuple[bool, float]:
    """A key to sort rows by: highest Savg. first, those without one last."""
    cell = entry.cells.get(SAVG.key)
    return cell is None, -cell.value if cell else 0.0


def ordered(block: Sequence[Entry], sort: str | None, columns: Sequence[Column]) -> list[Entry]:
    """The rows of a block as they stand: measured ones by Savg., published ones as printed.

    Args:
        sort: a column's key or title instead, best first; or ``name``.
        columns: that are shown.

    Raises:
        BadInput: no such column.
    """
    if block[0].kind == "baseline" or (sort is None and block[0].kind == "published"):
        return list(block)
    column = sort_key(sort or SAVG.key, columns)
    if column is None:
        return sorted(block, key=lambda entry: entry.name.casefold())
    key, goodness = column.key, column.goodness
    with_it = [entry for entry in block if key in entry.cells]
    with_it.sort(key=lambda entry: goodness(entry.cells[key].value), reverse=True)
    return with_it + [entry for entry in block if key not in entry.cells]


def printed(value: float) -> float:
    """The number that a table prints."""
    return float(f"{value:.2f}")


def ranks(block: Sequence[Entry], column: Column) -> dict[int, int]:
    """1 for the best rows of a block and 2 for the second, by ``id`` of the row."""
    if column.direction == "neither":
        return {}
    cells = _cells(block, column)
    usual, alone = _usual(cell.protocol for cell in cells.values())
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
    usual, _ = _usual(cell.protocol for cell in cells.values())
    found = {}
    for row, cell in cells.items():
        if cell.protocol.key != usual.key:
            parts = cell.protocol.differences(usual)
            what = "; ".join(part.text("instead of") for part in parts)
            found[row] = f"measured otherwise than most rows of its block, not ranked: {what}"
    return found


def unranked(block: Sequence[Entry], columns: Sequence[Column]) -> dict[int, str]:
    """Why a row is ranked in none of the columns that it has, by ``id`` of the row."""
    found: dict[int, list[str | None]] = {}
    for column in columns:
        cells, others = _cells(block, column), unlike(block, column)
        _, alone = _usual(cell.protocol for cell in cells.values())
        for row in cells:
            found.setdefault(row, []).append(others.get(row) if alone else _NO_USUAL)
    return {row: str(whys[0]) for row, whys in found.items() if None not in whys}


_NO_USUAL = "no settings are those of most rows of its block, so none of them is ranked"


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


def usual_protocol(block: Sequence[Entry]) -> Protocol:
    """What most rows of a block were measured with: in Savg., else in all that a row has."""
    cells = _cells(block, SAVG).values()
    # Whether it is shown or not: the short table shows no task.
    wholes = (_whole(entry) for entry in block if entry.cells)
    protocols = [cell.protocol for cell in cells] or list(wholes)
    usual, _ = _usual(protocols)
    # Of what is only said, that which most of them have.
    alike = Counter(one for one in protocols if one.key == usual.key)
    return max(alike, key=alike.__getitem__, default=usual)


def _whole(entry: Entry) -> Protocol:
    """What a row was measured with in all its cells."""
    return sum((cell.protocol for cell in entry.cells.values()), NOTHING)


def _cells(block: Sequence[Entry], column: Column) -> dict[int, Cell]:
    ranked = (entry for entry in block if entry.kind != "baseline")
    return {id(entry): entry.cells[column.key] for entry in ranked if column.key in entry.cells}


def _usual(protocols: Iterable[Protocol]) -> tuple[Protocol, bool]:
    """The most frequent one, the first of those that are; whether no other is as frequent."""
    by_key: dict[str, Protocol] = {}
    counts: Counter[str] = Counter()
    for protocol in protocols:
        by_key.setdefault(protocol.key, protocol)
        counts[protocol.key] += 1
    if not counts:
        return NOTHING, False
    (key, most), *others = counts.most_common(2)
    return by_key[key], all(count < most for _, count in others)


def _said_of(entry: Entry) -> tuple[tuple[str, str], ...]:
    found: Mapping[str, str] = {
        name: value
        for cell in entry.cells.values()
        for (_, name), value in cell.protocol.parts
        if name in SAID_ONLY
    }
    return tuple(sorted(found.items()))
