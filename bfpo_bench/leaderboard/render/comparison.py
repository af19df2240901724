"""A comparison as text, Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

from dataclasses import asdict

from bfpo_bench.common.errors import unknown_name
from bfpo_bench.common.text import markdown_text, one_line
from bfpo_bench.leaderboard.comparison import Comparison, Pair
from bfpo_bench.leaderboard.render.data import csv_of, json_of
from bfpo_bench.leaderboard.render.escaping import latex_text, name_text
from bfpo_bench.leaderboard.render.table import Section, Shown, Table
from bfpo_bench.leaderboard.render.text import WIDTH, latex, markdown, plain, wrapped
from bfpo_bench.leaderboard.stats.paired import Difference, end_text, p_text, signed

FORMATS = ("terminal", "markdown", "latex", "csv", "json")
_SECTIONS = {
    "average": "Averages",
    "helpfulness": "Helpfulness",
    "disc": "Discriminative",
    "gen": "Generative",
    "harm": "Harmful prompts",
    "answ": "Benign look-alikes",
    "apart": "In no average",
    "verdict": "The other verdict",
    "also": "Also (lm-eval's own tasks)",
}
_SIGNS = {"differs": "differs", "alone": "alone", "alike": "alike", "open": "?"}


def check_format(format: str) -> None:
    """Raises BadInput for a format that there is not."""
    if format not in FORMATS:
        raise unknown_name("format of a comparison", format, FORMATS)


def render(comparison: Comparison, format: str = "terminal", width: int = WIDTH) -> str:
    """The comparison with its closing sentence for each pair.

    Args:
        format: one of `FORMATS`.
        width: of a terminal, in characters.

    Raises:
        BadInput: no such format.
    """
    check_format(format)
    if format == "json":
        pairs = [{**asdict(pair), "conclusion": pair.conclusion} for pair in comparison.pairs]
        about = {name: value for name, value in vars(comparison).items() if name != "pairs"}
        return json_of({**about, "pairs": pairs})
    if format == "csv":
        return csv_of(comparison.to_frame(), digits=None)
    texts = []
    for pair in comparison.pairs:
        table = _table(pair, comparison)
        if format == "markdown":
            texts.append(f"{markdown(table)}\n{markdown_text(pair.conclusion)}\n")
        elif format == "latex":
            texts.append(f"{latex(table)}\n{latex_text(pair.conclusion)}\n")
        else:
            conclusion = "\n".join(wrapped(one_line(pair.conclusion), width))
            texts.append(f"{plain(table, width)}\n{conclusion}\n")
    return "\n".join(texts)


def _table(pair: Pair, comparison: Comparison) -> Table:
    sections = []
    for group, title in _SECTIONS.items():
        rows = tuple(
            (Shown(one_line(d.column), untrusted=True), tuple(map(Shown, _texts(d))))
            for d in pair.differences
            if d.group == group
        )
        if rows:
            sections.append(Section(title, rows))
    heads = ("Diff.", "95 % interval", "p", "Holm", "Verdict", "Detect.", "n")
    names = (Shown(name_text(name), untrusted=True) for name in (pair.first, pair.other))
    return Table(
        corner="Task",
        groups=(("", 2 + len(heads)),),
        heads=(*names, *map(Shown, heads)),
        sections=tuple(sections),
        notes=(),
        remarks=(
            *(
                f"Not measured alike, compared all the same: {what}."
                for what in comparison.warnings
            ),
            *(f"Note: {what}." for what in comparison.remarks),
        ),
        legend=(
            "In percent and percentage points; differences are second minus first, paired by item.",
            "Interval and p are of one test, McNemar's exact one, or the paired bootstrap for "
            "averages and grouped items: p is below 0.05 where the interval leaves out 0, and "
            "nowhere else.",
            "Holm: p corrected by Holm for the number of averages, tasks, other verdicts.",
            "Detect.: what a test at 5 % on these items finds in four of five cases.",
            "differs: Holm is below 0.05; alone: only p is; "
            f"alike: the interval lies within ±{pair.margin:g}; ?: the data cannot tell.",
            *([f"Judged tasks: {comparison.verdicts}."] if comparison.verdicts else []),
        ),
        ranked=False,
    )


def _texts(d: Difference) -> tuple[str, ...]:
    return (
        f"{d.first:.2f}",
        f"{d.other:.2f}",
        signed(d.value),
        f"[{end_text(d.low)}, {end_text(d.high)}]",
        p_text(d.p),
        p_text(d.holm),
        _SIGNS[d.verdict],
        f"{d.detectable:.2f}",
        str(d.n) if d.n is not None else "",
    )
