"""The leaderboard's columns, in the paper's order (Tables 2 and 6 to 8 of arXiv 2408.15313)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bfpo_bench.common.errors import unknown_name

Group = Literal["helpfulness", "disc", "gen", "harm", "answ", "apart", "average", "verdict", "also"]
Direction = Literal["higher", "lower", "nearer-50", "neither"]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: name in ``Entry.cells`` and on the command line.
        title: as the table heads it.
        short: the same where room is scarce.
        group: ``"disc"``, ``"gen"``, ``"harm"``, ``"answ"`` enter the average of that name;
            ``"verdict"``: the one that is not its task's score; ``"also"``: lm-eval's own.
        direction: which way is better; CrowS-Pairs is unbiased at 50, and a share of refusals of
            harmful prompts is neither good nor bad by itself.
        task: the suite's task that it shows, None where it shows none.
        share: which share of a judged task's responses it shows (:mod:`bfpo_bench.run.shares`), or
            of an average's; None for the score.
    """

    key: str
    title: str
    short: str
    group: Group
    direction: Direction
    task: str | None = None
    share: str | None = None

    def goodness(self, value: float) -> float:
        """A number that is the larger the better the value is."""
        if self.direction == "nearer-50":
            return -abs(value - 50)
        return value if self.direction == "higher" else -value


def _disc(name: str, title: str, short: str, task: str | None = None) -> Column:
    return Column(name, title, short, "disc", "higher", f"bfpo_{task or name}")


def _gen(name: str, title: str, short: str) -> Column:
    return Column(name, title, short, "gen", "higher", f"bfpo_{name}")


ALPACA = Column("alpaca", "Alpaca", "Alpaca", "helpfulness", "higher")
CROWS_PAIRS = Column("crows_pairs", "CrowS-Pairs", "CrowS", "disc", "nearer-50", "bfpo_crows_pairs")
CROWS_PAIRS_DISTANCE = Column(
    "crows_pairs_distance", "CrowS-Pairs distance from 50", "|CrowS−50|", "average", "lower"
)
"""|CrowS-Pairs − 50| in percentage points: 0 is unbiased, 50 the most there can be."""

DISC = Column("disc", "Disc.", "Disc.", "average", "higher")
DISC_DISTANCE = Column("disc_distance", "Disc. by distance", "Disc. by dist.", "average", "higher")
"""Disc. with 100 − 2·|CrowS-Pairs − 50| in place of CrowS-Pairs: 100 is unbiased, 0 the worst."""

GEN = Column("gen", "Gen.", "Gen.", "average", "higher")
GEN_CORRECTED = Column("gen_corrected", "Gen. corrected", "Gen. corr.", "average", "higher")
"""Gen. corrected for the judge's errors (:mod:`bfpo_bench.run.judge_error`)."""

SAVG = Column("savg", "Savg.", "Savg.", "average", "higher")
HARM = Column("harm", "Harm.", "Harm.", "average", "higher")
"""The share of harmless responses to harmful prompts, of suites that have such tasks."""

ANSW = Column("answ", "Answ.", "Answ.", "average", "higher")
"""The share of benign look-alikes that are answered in full, of suites that have such tasks."""

_SHARES: dict[str, dict[str, tuple[str, str, Direction]]] = {
    "harmless": {
        "refused": ("refused", "refused", "neither"),
        "harmless_without_refusing": ("without refusing", "w/o ref.", "neither"),
    },
    "answered": {
        "partly_refused": ("partly refused", "partly", "lower"),
        "refused": ("refused", "refused", "lower"),
    },
}
"""By the metric of a task, the shares beside its score: title, short title, direction."""


def share_columns(of: Column, metric: str) -> tuple[Column, ...]:
    """The columns of shares that stand beside the score of a judged task, or beside an average."""
    group: Group = of.group
    if of.group == "average":
        group = "answ" if metric == "answered" else "gen" if of is GEN else "harm"
    return tuple(
        Column(f"{of.key}_{share}", f"{of.title} {title}", short, group, way, of.task, share)
        for share, (title, short, way) in _SHARES[metric].items()
    )


SHARES_OF = {
    GEN.key: share_columns(GEN, "harmless"),
    HARM.key: share_columns(HARM, "harmless"),
    ANSW.key: share_columns(ANSW, "answered"),
}
"""The shares beside the averages of judged tasks: plain means of their tasks' shares."""

TASK_COLUMNS = (
    CROWS_PAIRS,
    _disc("bbq", "BBQ", "BBQ", "bbq_lite"),
    _disc("winogrande", "WinoGrande", "WinoGr."),
    _disc("ethics_cm", "Ethics CM", "E. CM"),
    _disc("ethics_justice", "Ethics Justice", "E. Just."),
    _disc("ethics_deontology", "Ethics Deontology", "E. Deont."),
    _disc("ethics_utilitarianism", "Ethics Utilitarianism", "E. Util."),
    _disc("ethics_virtue", "Ethics Virtue", "E. Virtue"),
    _disc("moral_permissibility", "Moral Permissibility", "MoralP."),
    _disc("simple_ethical_questions", "Simple Ethical Questions", "SimpleEQ"),
    _disc("toxigen", "ToxiGen", "ToxiGen"),
    _disc("hhh_alignment", "HHH Alignment", "HHH"),
    _gen("advbench", "AdvBench", "AdvB."),
    _gen("realtoxicityprompts", "RealToxicityPrompts", "RTP"),
    _gen("alert", "ALERT", "ALERT"),
    _gen("alert_adversarial", "ALERT Adversarial", "ALERT adv."),
)
"""The suite's 16 tasks."""

SUMMARY = (ALPACA, DISC, GEN, SAVG)
"""The paper's Table 2."""

FULL = (
    ALPACA,
    *(column for column in TASK_COLUMNS if column.group == "disc"),
    DISC,
    *(column for column in TASK_COLUMNS if column.group == "gen"),
    GEN,
    SAVG,
)
"""The columns of Tables 6 to 8."""

COLUMNS = {
    column.key: column
    for column in (
        *(*FULL, HARM, ANSW, CROWS_PAIRS_DISTANCE, DISC_DISTANCE, GEN_CORRECTED),
        *(column for some in SHARES_OF.values() for column in some),
    )
}
"""Every column there is, by key."""

COLUMN_OF_TASK = {column.task: column for column in TASK_COLUMNS}


def key_of(task: str) -> str:
    """The key of a task's column; one that the paper does not have goes by its own name."""
    column = COLUMN_OF_TASK.get(task)
    return column.key if column else task


def named_column(
    name: str, columns: Sequence[Column], kind: str, besides: Sequence[str] = ()
) -> Column:
    """The column that goes by a key or a title.

    Args:
        columns: those that are known besides :data:`COLUMNS`.
        kind: what it is named for, in the message.
        besides: names that would be right but are no column's.

    Raises:
        BadInput: there is none of that name.
    """
    known = {**COLUMNS, **{column.key: column for column in columns}}
    titles = {column.title.lower().rstrip("."): column for column in known.values()}
    wanted = name.lower().rstrip(".")
    found = known.get(name) or known.get(wanted) or titles.get(wanted)
    if found is None:
        raise unknown_name(kind, name, [*besides, *known])
    return found


def sort_key(name: str, columns: Sequence[Column]) -> Column | None:
    """The column that --sort names; None for the row's name.

    Raises:
        BadInput: there is none of that name.
    """
    if name.lower().rstrip(".") == "name":
        return None
    return named_column(name, columns, "column to sort by", ["name"])
