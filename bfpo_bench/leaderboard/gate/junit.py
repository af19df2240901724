"""A gate as a JUnit file, which every CI system shows.

One test case per check. What is undecided is a failure of its own type: a skipped test would be
shown as green, or as nothing, and a gate that cannot tell has not been passed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from bfpo_bench.common.text import visible
from bfpo_bench.leaderboard.gate.gate import Gate

SUITE = "bfpo-bench gate"
_TYPES = {"fail": "inferior", "undecided": "undecided"}


def junit_text(gate: Gate, seconds: float) -> str:
    """The text of the file: ``testsuites``, one ``testsuite``, and its ``testcase`` elements.

    Args:
        seconds: that the comparison took; checks are decided together, so each has its share.
    """
    counts = {
        "tests": str(len(gate.checks)),
        "failures": str(sum(check.outcome != "pass" for check in gate.checks)),
        "errors": "0",
        "time": f"{seconds:.3f}",
    }
    started = datetime.now(UTC).replace(microsecond=0, tzinfo=None).isoformat()
    top = _element(None, "testsuites", name=SUITE, **counts)
    name = f"{SUITE}: {gate.candidate}"
    # Jenkins' schema (junit-10.xsd of its xunit plugin) knows skipped of a suite alone.
    suite = _element(top, "testsuite", name=name, timestamp=started, skipped="0", **counts)
    properties = _element(suite, "properties")
    about = {"candidate": gate.candidate, "baseline": gate.baseline, "outcome": gate.outcome}
    for key, value in about.items():
        _element(properties, "property", name=key, value=value)
    share = f"{seconds / max(1, len(gate.checks)):.3f}"
    for check in gate.checks:
        name, said = f"{check.column}: {check.asked}", gate.why(check)
        case = _element(suite, "testcase", classname="bfpo-bench.gate", name=name, time=share)
        if check.outcome == "pass":
            _element(case, "system-out", said)
            continue
        kind, short = _TYPES[check.outcome], said.partition("; ")[0]
        _element(case, "failure", said, message=short, type=kind)
    notes = [gate.conclusion, *(f"Note: {remark}." for remark in gate.remarks)]
    _element(suite, "system-out", "\n".join(notes))
    ET.indent(top)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(top, encoding="unicode")}\n'


def _element(inside: ET.Element | None, tag: str, text: str = "", **attributes: str) -> ET.Element:
    """An element of foreign texts, without the characters that XML cannot hold even escaped."""
    made = ET.Element(tag, {key: visible(value) for key, value in attributes.items()})
    made.text = visible(text) or None
    if inside is not None:
        inside.append(made)
    return made
