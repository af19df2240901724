"""A table as LaTeX with booktabs, in plain ASCII: any engine sets it.

A table that is wider than the text is shrunk to it; one of many columns has its heads upright.
"""

from __future__ import annotations

import re

from bfpo_bench.leaderboard.render.escaping import latex_text
from bfpo_bench.leaderboard.render.table import Shown, Table

_AROUND = {0: ("", ""), 1: (r"\textbf{", "}"), 2: (r"\underline{", "}")}
_WIDE = 10
"""From so many columns on a table goes over both columns of text, with upright heads."""

_FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"
"""Begins a box as wide as what is in it, and at most as wide as the text."""


def latex(table: Table) -> str:
    """A ``table`` environment with legend and notes under it."""
    count = len(table.heads)
    wide = count >= _WIDE
    heads = [rf"\rotatebox{{90}}{{{_cell(head)}}}" if wide else _cell(head) for head in table.heads]
    lines = [
        r"% needs \usepackage{booktabs,graphicx}",
        r"\begin{table*}[t]" if wide else r"\begin{table}[t]",
        r"  \centering",
        r"  \scriptsize\setlength{\tabcolsep}{2pt}" if wide else r"  \small",
        rf"  {_FITTED}\begin{{tabular}}{{l{'r' * count}}}",
        r"    \toprule",
        *_group_lines(table),
        f"    {' & '.join([latex_text(table.corner), *heads])} \\\\",
        r"    \midrule",
    ]
    for place, section in enumerate(table.sections):
        if place:
            lines.append(r"    \midrule")
        if section.title:
            title = latex_text(section.title)
            lines.append(rf"    \multicolumn{{{count + 1}}}{{l}}{{\textit{{{title}}}}} \\")
        for label, cells in section.rows:
            lines.append(f"    {' & '.join(map(_cell, (label, *cells)))} \\\\")
    lines += [r"    \bottomrule", r"  \end{tabular}}", "", r"  \smallskip"]
    size = r"\scriptsize" if wide else r"\footnotesize"
    lines += [rf"  \parbox{{\linewidth}}{{{size}\raggedright {'  '.join(_under(table))}}}"]
    lines += [r"\end{table*}" if wide else r"\end{table}"]
    return "\n".join(lines) + "\n"


def _group_lines(table: Table) -> list[str]:
    if not any(title for title, _ in table.groups):
        return []
    cells, rules, begin = [""], [], 2
    for title, count in table.groups:
        cells.append(rf"\multicolumn{{{count}}}{{c}}{{{latex_text(title)}}}")
        if title:
            rules.append(rf"\cmidrule(lr){{{begin}-{begin + count - 1}}}")
        begin += count
    return [f"    {' & '.join(cells)} \\\\", f"    {' '.join(rules)}"]


def _under(table: Table) -> list[str]:
    signs = [r"\textbf{Bold}: best, \underline{underlined}: second (of its block)."]
    found = [*(signs if table.ranked else []), *map(latex_text, table.legend)]
    found += [f"{_small((n,))}{latex_text(note)}" for n, note in enumerate(table.notes, 1)]
    return [*found, *map(latex_text, table.remarks)]


def _cell(shown: Shown) -> str:
    before, after = _AROUND[shown.rank]
    text = latex_text(shown.text)
    if not shown.untrusted:
        text = re.sub(r"\{-\}(?=\d)", "$-$", text)
    # A row that begins with a bracket would be taken for an option of the line break before it.
    guard = "{}" if text.startswith(("[", "*")) else ""
    return f"{guard}{before}{text}{after}{_small(shown.notes)}"


def _small(numbers: tuple[int, ...]) -> str:
    return rf"\textsuperscript{{{','.join(map(str, numbers))}}}" if numbers else ""
