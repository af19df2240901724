"""What came of a gate as text, Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

from dataclasses import asdict

from bfpo_bench.common.text import markdown_text, one_line
from bfpo_bench.leaderboard.gate.decide import Check
from bfpo_bench.leaderboard.gate.gate import Gate
from bfpo_bench.leaderboard.gate.words import near
from bfpo_bench.leaderboard.render.comparison import check_format
from bfpo_bench.leaderboard.render.data import csv_of, json_of
from bfpo_bench.leaderboard.render.escaping import latex_text, name_text
from bfpo_bench.leaderboard.render.table import Section, Shown, Table
from bfpo_bench.leaderboard.render.text import WIDTH, latex, markdown, plain, wrapped
from bfpo_bench.leaderboard.stats.paired import signed


def render_gate(gate: Gate, format: str = "terminal", width: int = WIDTH) -> str:
    """A table of all checks, a sentence for each, and the conclusion.

    Args:
        format: as of a comparison.
        width: of a terminal, in characters.

    Raises:
        BadInput: no such format.
    """
    check_format(format)
    if format == "csv":
        return csv_of(gate.to_frame(), digits=None)
    if format == "json":
        checks = [
            {**asdict(one), "told": one.told, "power": one.power, "why": gate.why(one)}
            for one in gate.checks
        ]
        about = {name: value for name, value in vars(gate).items() if name != "checks"}
        return json_of(
            {
                "outcome": gate.outcome,
                "exit_code": gate.exit_code,
                "conclusion": gate.conclusion,
                **about,
                "checks": checks,
            }
        )
    lines = [*(gate.why(one) for one in gate.checks), gate.conclusion]
    if format == "markdown":
        said = "\n".join(f"- {markdown_text(line)}" for line in lines[:-1])
        return f"{markdown(_table(gate))}\n{said}\n\n**{markdown_text(lines[-1])}**\n"
    if format == "latex":
        return f"{latex(_table(gate))}\n" + "".join(f"{latex_text(line)}\n\n" for line in lines)
    said = "\n".join(part for line in lines for part in wrapped(one_line(line), width))
    return f"{plain(_table(gate), width)}\n{said}\n"


def _table(gate: Gate) -> Table:
    heads = ("Asked", "Better by", "Bounds", "Conf.", "Verdict", "Tells", "n")
    names = (Shown(name_text(name), untrusted=True) for name in (gate.baseline, gate.candidate))
    rows = tuple(
        (Shown(one_line(check.column), untrusted=True), tuple(map(Shown, _texts(check))))
        for check in gate.checks
    )
    return Table(
        corner="Column",
        groups=(("", 2 + len(heads)),),
        heads=(*names, *map(Shown, heads)),
        sections=(Section("", rows),),
        notes=(),
        remarks=tuple(f"Note: {what}." for what in gate.remarks),
        legend=(
            "In percent and percentage points, paired by item. Better by: the candidate than the "
            "baseline, or than the floor.",
            "Bounds: the lower and the upper one, each one-sided at the confidence. pass: the "
            "lower one lies above −margin; fail: the upper one lies below it, corrected by Holm "
            "for the number of checks; undecided: neither.",
            "Tells: the least margin that this sample tells with power 80 % where the candidate is "
            "as good as the baseline; of a floor, how far above it the candidate has to be.",
            *([f"Judged tasks: {gate.verdicts}."] if gate.verdicts else []),
        ),
        ranked=False,
    )


def _texts(check: Check) -> tuple[str, ...]:
    low, high = (near(end, check.bar, plus=True) for end in (check.low, check.high))
    return (
        f"{check.baseline:.2f}",
        f"{check.candidate:.2f}",
        check.asked if check.floor else f"margin {-check.bar:g}",
        signed(check.value),
        f"[{low}, {high}]",
        f"{100 * check.confidence:g} %",
        check.outcome,
        f"{check.told:.2f}",
        str(check.n) if check.n is not None else "",
    )
