"""Several judges of one run: the averages by each, the band that they span, how they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from bfpo_bench.common.options import names_in
from bfpo_bench.common.validate import WHOLE, Count
from bfpo_bench.run.average import Average
from bfpo_bench.run.corrected import CorrectedShare


@dataclass(frozen=True)
class PairAgreement:
    """How often two judges say the same of a response.

    Attributes:
        judges: the two.
        verdict: of what: harm, or refusal.
        n: responses of which both could tell; the rest enter nothing.
        same: share of those that both call alike.
        kappa: Cohen's, with its 95 % interval; None where it is not defined.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    judges: list[str]
    verdict: str
    n: Count
    same: float | None
    kappa: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Member:
    """One of the judges.

    Attributes:
        averages: by its verdicts alone; its results file has the cells.
        corrected: the same, corrected by people's labels; none without any.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    averages: dict[str, Average]
    corrected: dict[str, CorrectedShare] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """The judges that a majority was taken of.

    Attributes:
        members: by name.
        agreement: of every two of them.
        undecided: responses by task whose majority is unknown though some judge could tell.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    members: dict[str, Member]
    agreement: list[PairAgreement]
    undecided: dict[str, Count]

    def values(self, average: str) -> dict[str, float]:
        """An average by each judge that has it."""
        found = {name: one.averages.get(average) for name, one in self.members.items()}
        return {
            n: one.value for n, one in found.items() if one is not None and one.value is not None
        }

    def band(self, average: str) -> str | None:
        """From which judge's number to which, in words; None where not all have one, or alike."""
        values = self.values(average)
        if len(values) < len(self.members) or len(set(values.values())) == 1:
            return None
        least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
        return f"{values[least]:.2f} by {least} to {values[most]:.2f} by {most}"


def majority_name(names: Sequence[str]) -> str:
    """What the majority of judges goes by in stores, results and tables."""
    return f"majority({','.join(sorted(names))})"


def judge_named(text: str) -> str:
    """The name of the judge that is asked for: of several, with commas, that of their majority."""
    several = judges_named(text)
    return text if len(several) < 2 else majority_name(several)


def judges_named(text: str) -> list[str]:
    """The names in a text with commas, or in that of a majority; a card's path may hold some."""
    inside = text.removeprefix("majority(").removesuffix(")") if text.endswith(")") else text
    return [name for name in names_in(inside.split(","), ",") if name]
