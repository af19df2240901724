"""What is said of the differences of models: verdicts that hold among many, and one sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bfpo_bench.common.text import valid_text
from bfpo_bench.leaderboard.stats.paired import Difference, Verdict, holm, settled, signed
from bfpo_bench.leaderboard.stats.verdicts import GROUP as VERDICT

if TYPE_CHECKING:
    from pandas import DataFrame

MARGIN = 1.0
"""So many percentage points count as alike, unless it is said otherwise."""

_FAMILY = {"average": "average", "also": "also", VERDICT: VERDICT}


@dataclass(frozen=True)
class Pair:
    """The first model against another one."""

    first: str
    other: str
    differences: tuple[Difference, ...]
    margin: float

    @property
    def conclusion(self) -> str:
        """What differs, what does not, and what the data cannot tell, in one sentence."""
        parts = []
        if different := self._listed("differs", _with_value):
            parts.append(f"{self.other} differs from {self.first} in {different}")
        else:
            parts.append(f"no difference between {self.other} and {self.first} is established")
        if alone := self._listed("alone", _with_value):
            parts.append(
                f"taken alone they would differ in {alone}, which among so many comparisons can "
                "be chance"
            )
        if alike := self._listed("alike", lambda d: d.column):
            parts.append(f"within ±{self.margin:g} they are alike in {alike}")
        if unsure := self._listed("open", lambda d: f"{d.column} ({d.detectable:.1f})"):
            parts.append(
                f"the data cannot tell about {unsure}, where differences up to about the points in "
                "brackets can go unseen"
            )
        return f"Conclusion: {'; '.join(parts)}."

    def _listed(self, verdict: Verdict, text: Callable[[Difference], str]) -> str:
        return ", ".join(text(d) for d in self.differences if d.verdict == verdict)


def _with_value(d: Difference) -> str:
    return f"{d.column} ({signed(d.value)})"


@dataclass(frozen=True)
class Comparison:
    """Models against the first one.

    Attributes:
        warnings: why the runs ought not to be compared; empty unless that was forced.
        remarks: what is not the same in them and need not be.
        verdicts: whose verdicts judged tasks count, in words; None without such tasks.
    """

    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    verdicts: str | None = None

    def to_frame(self) -> DataFrame:
        """One row per pair and column, as a pandas frame.

        Columns: first, other (names, not to be trusted), first_score, other_score (percent), the
        rest of :class:`bfpo_bench.leaderboard.stats.paired.Difference`, and warnings.
        """
        import pandas

        rows = [
            {
                "first": pair.first,
                "other": pair.other,
                "first_score": d.first,
                "other_score": d.other,
                **{
                    name: value
                    for name, value in asdict(d).items()
                    if name not in ("first", "other")
                },
                "warnings": "; ".join(self.warnings),
            }
            for pair in self.pairs
            for d in pair.differences
        ]
        return pandas.DataFrame(valid_text(rows)).astype({"n": "Int64"})


def corrected(
    drafts: Sequence[Sequence[Difference]], margin: float
) -> list[tuple[Difference, ...]]:
    """The differences of each pair with the verdict that follows from all p-values."""
    by_id: dict[int, float] = {}
    # The averages are what a paper claims, the tasks say where it comes from, the verdicts that
    # are no task's score what else the judges have said, and lm-eval's own what else has changed:
    # four families, so that no p depends on what was looked at besides.
    for name in ("average", "tasks", VERDICT, "also"):
        family = [d for draft in drafts for d in draft if _FAMILY.get(d.group, "tasks") == name]
        values = holm([d.p for d in family])
        by_id |= {id(d): value for d, value in zip(family, values, strict=True)}
    return [tuple(settled(d, by_id[id(d)], margin) for d in draft) for draft in drafts]
