"""A table as GitHub Markdown."""

from __future__ import annotations

from bfpo_bench.leaderboard.render.escaping import markdown_text
from bfpo_bench.leaderboard.render.table import Shown, Table

_AROUND = {0: ("", ""), 1: ("**", "**"), 2: ("<ins>", "</ins>")}


def markdown(table: Table) -> str:
    """The table, its legend and notes. Text from outside means nothing to Markdown or HTML."""
    heads = _heads(table)
    corner = table.corner or " "
    lines = [
        f"| {' | '.join([corner, *heads])} |",
        f"|:---|{'---:|' * len(heads)}",
    ]
    for section in table.sections:
        if section.title:
            lines.append(f"| *{markdown_text(section.title)}* |{' |' * len(heads)}")
        for label, cells in section.rows:
            lines.append(f"| {' | '.join(map(_cell, (label, *cells)))} |")
    signs = ["**Bold**: best, <ins>underlined</ins>: second (of its block)."]
    lines += ["", " ".join([*(signs if table.ranked else []), *map(markdown_text, table.legend)])]
    notes = [f"- {_small((n,))} {markdown_text(note)}" for n, note in enumerate(table.notes, 1)]
    notes += [f"- {markdown_text(sentence)}" for sentence in table.remarks]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _heads(table: Table) -> list[str]:
    """Heads with the title of their group over the first of each: Markdown joins no cells."""
    heads = [_cell(head) for head in table.heads]
    begin = 0
    for title, count in table.groups:
        if title:
            heads[begin] = f"{markdown_text(title)}<br>{heads[begin]}"
        begin += count
    return heads


def _cell(shown: Shown) -> str:
    before, after = _AROUND[shown.rank]
    text = markdown_text(shown.text) if shown.untrusted else shown.text.replace("|", "\\|")
    return f"{before}{text}{after}{_small(shown.notes)}"


def _small(numbers: tuple[int, ...]) -> str:
    return f"<sup>{','.join(map(str, numbers))}</sup>" if numbers else ""
