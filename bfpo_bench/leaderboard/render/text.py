"""A table as plain text, in panels that fit the width, as GitHub Markdown and as LaTeX.

LaTeX comes in plain ASCII with booktabs, so that any engine sets it: a table that is wider than the
text is shrunk to it, one of many columns has its heads upright.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from bfpo_bench.common.text import markdown_text, one_line
from bfpo_bench.leaderboard.render.escaping import latex_text
from bfpo_bench.leaderboard.render.table import Shown, Table

WIDTH = 100
_GAP = "  "
_SMALL = str.maketrans("0123456789,", "⁰¹²³⁴⁵⁶⁷⁸⁹˙")
_SIGNS = {1: "*", 2: "°"}
_STYLES = {0: "{}", 1: "\x1b[1m{}\x1b[0m", 2: "\x1b[4m{}\x1b[0m"}
_MARKDOWN = {0: "{}", 1: "**{}**", 2: "<ins>{}</ins>"}
_LATEX = {0: "{}", 1: r"\textbf{{{}}}", 2: r"\underline{{{}}}"}


# ------------------------------------------------------------------ Markdown and LaTeX


def markdown(table: Table) -> str:
    """The table, its legend and notes. Text from outside means nothing to Markdown or HTML."""
    heads = [_markdown_cell(head) for head in table.heads]
    begin = 0
    # Markdown joins no cells: the title of a group stands over its first head.
    for title, count in table.groups:
        if title:
            heads[begin] = f"{markdown_text(title)}<br>{heads[begin]}"
        begin += count
    return _filled("table.md.jinja", table, heads)


def latex(table: Table) -> str:
    """A ``table`` environment with legend and notes under it."""
    return _filled("table.tex.jinja", table, [_latex_cell(head) for head in table.heads])


def _filled(template: str, table: Table, heads: Sequence[str]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # No HTML: what comes from outside goes through the filters, which escape it for each format.
    tables = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        variable_start_string="<<",
        variable_end_string=">>",
        line_statement_prefix="%%",
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    tables.filters |= {
        "markdown": markdown_text,
        "markdown_cell": _markdown_cell,
        "latex": latex_text,
        "latex_cell": _latex_cell,
    }
    # First and last column of each; the labels' is the first.
    ends = list(accumulate((count for _, count in table.groups), initial=1))
    groups = [
        (title, end - count + 1, end)
        for (title, count), end in zip(table.groups, ends[1:], strict=True)
    ]
    return tables.get_template(template).render(table=table, heads=heads, groups=groups)


def _markdown_cell(shown: Shown) -> str:
    text = markdown_text(shown.text) if shown.untrusted else shown.text.replace("|", "\\|")
    notes = f"<sup>{','.join(map(str, shown.notes))}</sup>" if shown.notes else ""
    return _MARKDOWN[shown.rank].format(text) + notes


def _latex_cell(shown: Shown) -> str:
    text = latex_text(shown.text)
    if not shown.untrusted:
        text = re.sub(r"\{-\}(?=\d)", "$-$", text)
    # A row that begins with a bracket would be taken for an option of the line break before it.
    guard = "{}" if text.startswith(("[", "*")) else ""
    notes = rf"\textsuperscript{{{','.join(map(str, shown.notes))}}}" if shown.notes else ""
    return guard + _LATEX[shown.rank].format(text) + notes


# -------------------------------------------------------------------------- plain text


def plain(table: Table, width: int = WIDTH, styled: bool = False) -> str:
    """The table, its legend and notes.

    Columns that do not fit follow in further panels, each with the labels.

    Args:
        width: characters per line.
        styled: bold and underlined by a terminal's escape codes instead of ``*`` and ``°``.
    """
    filled = table.heads and any(section.rows for section in table.sections)
    body = _panels(table, width, styled) if filled else ["No rows."]
    signs = "Bold: best, underlined: second" if styled else "* best, ° second"
    legend = [f"{signs} (of its block)."] if table.ranked else []
    legend += map(one_line, table.legend)
    lines = [*body, "", *wrapped(" ".join(legend), width)]
    for number, note in enumerate(table.notes, 1):
        lines += wrapped(f"{_small((number,))} {one_line(note)}", width)
    for sentence in table.remarks:
        lines += wrapped(one_line(sentence), width)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _panels(table: Table, width: int, styled: bool) -> list[str]:
    from rich.cells import cell_len, set_cell_size

    def right(text: str, room: int) -> str:
        return " " * (room - cell_len(text)) + text

    def signs(shown: Shown) -> str:
        """What stands behind a number: its rank, where style does not tell it, and its notes."""
        return ("" if styled else _SIGNS.get(shown.rank, "")) + _small(shown.notes)

    def cell(shown: Shown, at: int) -> str:
        # Numbers are set right, their signs and notes left.
        number = right(shown.text, widths[at] - behind[at]).replace(
            shown.text, _STYLES[shown.rank if styled else 0].format(shown.text)
        )
        return number + set_cell_size(signs(shown), behind[at])

    rows = [row for section in table.sections for row in section.rows]
    first = max(map(cell_len, [table.corner, *(_label(label) for label, _ in rows)]))
    behind = [
        max(cell_len(signs(cells[at])) for _, cells in rows) for at in range(len(table.heads))
    ]
    widths = [
        max(cell_len(_label(head)), behind[at] + max(cell_len(cells[at].text) for _, cells in rows))
        for at, head in enumerate(table.heads)
    ]
    begin = 0
    for title, count in table.groups:
        room = len(_GAP.join(" " * one for one in widths[begin : begin + count]))
        widths[begin] += max(0, cell_len(title) - room)
        begin += count
    lines: list[str] = []
    begin = 0
    while begin < len(widths):
        end = begin + 1
        while (
            end < len(widths)
            and first + sum(widths[begin : end + 1]) + len(_GAP) * (end + 1 - begin) <= width
        ):
            end += 1
        shown = range(begin, end)
        rule = "─" * (first + sum(widths[at] + len(_GAP) for at in shown))
        heads = [right(_label(table.heads[at]), widths[at]) for at in shown]
        lines += [""] if begin else []
        lines += _group_line(table, shown, first, widths)
        lines += [_GAP.join([table.corner.ljust(first), *heads]), rule]
        for place, section in enumerate(table.sections):
            lines += [rule] if place else []
            lines += [section.title] if section.title else []
            for label, cells in section.rows:
                texts = [cell(cells[at], at) for at in shown]
                lines.append(_GAP.join([set_cell_size(_label(label), first), *texts]))
        begin = end
    return lines


def _group_line(table: Table, shown: range, first: int, widths: Sequence[int]) -> list[str]:
    """The titles over groups of columns, cut to the room that theirs take in this panel."""
    if not any(title for title, _ in table.groups):
        return []
    line, begin = " " * first, 0
    for title, count in table.groups:
        here = [at for at in range(begin, begin + count) if at in shown]
        begin += count
        if here:
            room = sum(widths[at] + len(_GAP) for at in here) - len(_GAP)
            line += _GAP + one_line(title, max(room, 2)).center(room)
    return [line]


def _label(shown: Shown) -> str:
    return (one_line(shown.text) if shown.untrusted else shown.text) + _small(shown.notes)


def _small(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers)).translate(_SMALL)


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most that width; further lines are indented."""
    return textwrap.wrap(text, max(width, 20), subsequent_indent=_GAP, break_on_hyphens=False)
