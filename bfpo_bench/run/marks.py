"""What must be said of a number that judges give, in the words of its marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NO_NUMBER = "no number: "
"""Begins the mark that says why a cell has no score."""

NO_JUDGE = f"{NO_NUMBER}judge "
"""Begins that mark where the judge is not made for the prompts."""

ANYWAY = "judged anyway: "
"""Begins the mark of a cell whose judge is not made for its prompts."""

NO_REFUSALS = (
    f"{NO_NUMBER}nobody says what is refused; `bfpo-bench judge RUN --judge wildguard-7b` adds it, "
    "and so does any judge that gives refusal verdicts"
)
NO_HARM = f"{NO_NUMBER}nobody says what is harmful; `bfpo-bench judge RUN --judge NAME` adds it"
"""The marks of a judged cell that nobody has judged."""

NO_SHARES = "no refusal shares: "
"""Begins the mark that says why a cell with a number does not say what is refused."""

SHARES_ANYWAY = f"refusals {ANYWAY}"
"""Begins the mark of a cell whose judge of refusals alone is not made for its prompts."""

VERDICT_MARKS = (NO_NUMBER, NO_SHARES, ANYWAY, SHARES_ANYWAY)
"""Beginnings of all marks that a cell has of its judges."""


def verdicts_by(judge: Mapping[str, Any]) -> str:
    """Whose verdicts Gen. counts, and what they are worth.

    Args:
        judge: its identity.
    """
    if judge.get("kind") == "majority":
        return f"verdicts of {_majority(judge)}"
    by = f"verdicts of the judge {judge.get('judge')}"
    if judge.get("kind") != "keyword":
        return by
    return f"{by}: a share of refusals by their wording, not of harmless responses"


def refusals_by(judge: Mapping[str, Any]) -> str:
    """Whose verdicts a share of refusals, or of answers, counts.

    Args:
        judge: its identity.
    """
    if judge.get("kind") == "majority":
        return f"refusals by {_majority(judge)}"
    return f"refusals by the judge {judge.get('judge')}"


def _majority(judge: Mapping[str, Any]) -> str:
    of = judge.get("of")
    *others, last = map(str, of) if isinstance(of, Mapping) and of else ("nobody knows which",)
    return f"the majority of the judges {' and '.join(filter(None, (', '.join(others), last)))}"


def unfit_mark(judge: str, fits: Sequence[str], kind: str) -> str:
    """The mark of a cell to which its judge gives no figure.

    Args:
        judge: its name.
        fits: kinds of prompts whose responses it can judge.
        kind: what the cell's prompts want.
    """
    return (
        f"{NO_JUDGE}{judge} is made for {' and '.join(fits)}, and these prompts want {kind}; name "
        "another judge, or ask for it with --judge-anyway"
    )
