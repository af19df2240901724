"""A table as plain text, in panels that fit the width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bfpo_bench.leaderboard.render.escaping import one_line
from bfpo_bench.leaderboard.render.table import Shown, Table

_SMALL = str.maketrans("0123456789,", "⁰¹²³⁴⁵⁶⁷⁸⁹˙")
_GAP = "  "
_STYLES = {1: "\x1b[1m", 2: "\x1b[4m"}
_SIGNS = {1: "*", 2: "°"}
WIDTH = 100


def plain(table: Table, width: int = WIDTH, styled: bool = False) -> str:
    """The table, its legend and notes.

    Columns that do not fit follow in further panels, each with the labels.

    Args:
        width: characters per line.
        styled: bold and underlined by a terminal's escape codes instead of ``*`` and ``°``.
    """
    if not any(section.rows for section in table.sections) or not table.heads:
        body = ["No rows."]
    else:
        body = _panels(table, width, styled)
    signs = "Bold: best, underlined: second" if styled else "* best, ° second"
    legend = [f"{signs} (of its block)."] if table.ranked else []
    legend += map(one_line, table.legend)
    lines = [*body, "", *wrapped(" ".join(legend), width)]
    for number, note in enumerate(table.notes, 1):
        lines += wrapped(f"{_small((number,))} {one_line(note)}", width)
    for sentence in table.remarks:
        lines += wrapped(one_line(sentence), width)
    return "\n".join(line.rstrip() for line in lines) + "\n"


@dataclass(frozen=True)
class _Widths:
    """Room for a column: its numbers, which are set right, and their signs and notes, set left."""

    number: int
    signs: int

    @property
    def whole(self) -> int:
        return self.number + self.signs


def _panels(table: Table, width: int, styled: bool) -> list[str]:
    labels = [_label(label) for section in table.sections for label, _ in section.rows]
    first = max(map(_width, [table.corner, *labels]))
    widths = _column_widths(table, styled)
    lines: list[str] = []
    begin = 0
    while begin < len(widths):
        end, used = begin + 1, first + len(_GAP) + widths[begin].whole
        while end < len(widths) and used + len(_GAP) + widths[end].whole <= width:
            used += len(_GAP) + widths[end].whole
            end += 1
        lines += ["", *_panel(table, range(begin, end), first, widths, styled)]
        begin = end
    return lines[1:]


def _column_widths(table: Table, styled: bool) -> list[_Widths]:
    found = []
    for i, head in enumerate(table.heads):
        cells = [cells[i] for section in table.sections for _, cells in section.rows]
        signs = max(_width(_signs(cell, styled)) for cell in cells)
        number = max(_width(cell.text) for cell in cells)
        found.append(_Widths(max(number, _width(_label(head)) - signs), signs))
    begin = 0
    for title, count in table.groups:
        room = sum(found[i].whole + len(_GAP) for i in range(begin, begin + count)) - len(_GAP)
        found[begin] = replace(
            found[begin], number=found[begin].number + max(0, _width(title) - room)
        )
        begin += count
    return found


def _panel(
    table: Table, shown: range, first: int, widths: Sequence[_Widths], styled: bool
) -> list[str]:
    rule = "─" * (first + sum(widths[i].whole + len(_GAP) for i in shown))
    heads = [_set_right(_label(table.heads[i]), widths[i].whole) for i in shown]
    lines = _group_line(table, shown, first, widths)
    lines += [_GAP.join([table.corner.ljust(first), *heads]), rule]
    for place, section in enumerate(table.sections):
        if place:
            lines.append(rule)
        if section.title:
            lines.append(section.title)
        for label, cells in section.rows:
            text = _label(label)
            row = [_cell(cells[i], widths[i], styled) for i in shown]
            lines.append(_GAP.join([text + " " * (first - _width(text)), *row]))
    return lines


def _group_line(table: Table, shown: range, first: int, widths: Sequence[_Widths]) -> list[str]:
    """The titles over groups of columns, cut to the room that theirs take in this panel."""
    if not any(title for title, _ in table.groups):
        return []
    line, begin = " " * first, 0
    for title, count in table.groups:
        here = [i for i in range(begin, begin + count) if i in shown]
        begin += count
        if here:
            room = sum(widths[i].whole + len(_GAP) for i in here) - len(_GAP)
            line += _GAP + one_line(title, max(room, 2)).center(room)
    return [line]


def _cell(shown: Shown, widths: _Widths, styled: bool) -> str:
    before = " " * (widths.number - _width(shown.text))
    signs = _signs(shown, styled)
    after = signs + " " * (widths.signs - _width(signs))
    if styled and shown.rank:
        return f"{before}{_STYLES[shown.rank]}{shown.text}\x1b[0m{after}"
    return before + shown.text + after


def _signs(shown: Shown, styled: bool) -> str:
    """What stands behind a number: its rank, where it is not told by style, and its notes."""
    sign = _SIGNS.get(shown.rank, "") if not styled else ""
    return sign + _small(shown.notes)


def _label(shown: Shown) -> str:
    return (one_line(shown.text) if shown.untrusted else shown.text) + _small(shown.notes)


def _set_right(text: str, width: int) -> str:
    return " " * (width - _width(text)) + text


def _small(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers)).translate(_SMALL)


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most that width; further lines are indented."""
    import textwrap

    return textwrap.wrap(text, max(width, 20), subsequent_indent="  ", break_on_hyphens=False)
