"""Marks of cells that hold a dash instead of a number, or a number that needs a word."""

from __future__ import annotations

from collections.abc import Sequence

NO_NUMBER = "no number: "
"""Begins the mark that says why a cell has no score."""

NO_JUDGE = f"{NO_NUMBER}judge "
"""Begins that mark where the judge is not made for the prompts."""

ANYWAY = "judged anyway: "
"""Begins the mark of a cell whose judge is not made for its prompts."""


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
