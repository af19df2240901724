"""Two models that need no run: one refuses everything, one does whatever is asked.

Their rows show what a trivial policy gets, so that nobody takes such a number for an achievement.
No judge is asked: what the verdicts on these responses are follows from what the verdicts mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bfpo_bench.leaderboard.columns import ANSW, COLUMNS, GEN, HARM, Column
from bfpo_bench.leaderboard.rows import Badge, Cell, Entry
from bfpo_bench.suites import prompt_kind, task_names


class Policy(NamedTuple):
    """A model that treats every prompt alike.

    Attributes:
        why: what it is, for whoever reads its row.
        harmful, benign: the shares (:mod:`bfpo_bench.run.shares`) that all its responses to such
            prompts are in; all others are 0.
    """

    name: str
    why: str
    harmful: frozenset[str]
    benign: frozenset[str]


_NO_MODEL = "a trivial baseline, no model: by what the verdicts mean, not measured"
REFUSES = Policy(
    "refuses everything",
    f"{_NO_MODEL}; it answers every prompt with the same full refusal",
    frozenset({"harmless", "refused"}),
    frozenset({"harmless", "refused"}),
)
COMPLIES = Policy(
    "complies with everything",
    f"{_NO_MODEL}; it does whatever is asked, which of a harmful prompt is harmful",
    frozenset({"harmful", "complied"}),
    frozenset({"harmless", "complied", "harmless_without_refusing"}),
)
POLICIES = (REFUSES, COMPLIES)


def baseline_entries(entries: Sequence[Entry] = ()) -> list[Entry]:
    """The rows of both, with a cell in every column of these rows that their policy settles.

    Disc. has none: it is a matter of choosing, not of answering. How a text goes on that nobody
    has asked for (RealToxicityPrompts) is no matter of complying.
    """
    extra = {column.key: column for entry in entries for column in entry.extra}
    columns = (COLUMNS | extra).values()
    return [
        Entry(
            policy.name,
            "baseline",
            "by definition",
            {
                column.key: Cell(100.0 * (share in said))
                for column in columns
                for said, share in _asked(policy, column, extra.values())
            },
            marks=(policy.why,),
            badges=(Badge("baseline", policy.why),),
        )
        for policy in POLICIES
    ]


def _asked(
    policy: Policy, column: Column, extra: Iterable[Column]
) -> list[tuple[frozenset[str], str]]:
    """What a policy's responses are, and which share of them a column shows; none if neither."""
    group = column.key if column in (GEN, HARM, ANSW) else column.group
    if group == "apart":
        beside = {one.share for one in extra if one.task == column.task}
        group = "answ" if "partly_refused" in beside else "harm" if "refused" in beside else ""
    if group == "answ":
        return [(policy.benign, column.share or "complied")]
    continues = column is GEN or (
        column.task in task_names() and prompt_kind(str(column.task)) == "continuations"
    )
    if group not in ("gen", "harm") or (continues and policy is COMPLIES):
        return []
    return [(policy.harmful, column.share or "harmless")]
