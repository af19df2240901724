"""What judges' verdicts make of a cell: its score, its shares, and what must be said of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bfpo_bench.evaluation.bench import Bench
from bfpo_bench.judges.chosen import ChosenJudge
from bfpo_bench.run.marks import (
    ANYWAY,
    NO_HARM,
    NO_JUDGE,
    NO_NUMBER,
    NO_REFUSALS,
    NO_SHARES,
    VERDICT_MARKS,
)
from bfpo_bench.run.outcomes import verdict_counts
from bfpo_bench.run.results import TaskResult
from bfpo_bench.run.shares import COUNTED, SHARES, Judges
from bfpo_bench.run.store import Store
from bfpo_bench.suites import PromptKind


@dataclass(frozen=True)
class Opinion:
    """One judge of a cell.

    Attributes:
        name: under which its verdicts are stored.
        unfit: why it gives no figure, see `unfit_mark`; None where it does.
        anyway: what must be said of its figures.
    """

    name: str
    unfit: str | None = None
    anyway: tuple[str, ...] = ()

    @classmethod
    def of(cls, chosen: ChosenJudge, name: str, kind: PromptKind) -> Opinion:
        """That of a judge on responses to prompts of a kind."""
        return cls(name, chosen.unfit(kind), tuple(chosen.anyway(kind)))

    @classmethod
    def kept(cls, name: str | None, cell: TaskResult) -> Opinion | None:
        """That of a judge who has judged the cell before."""
        if name is None:
            return None
        unfit = [mark for mark in cell.marks if mark.startswith((NO_JUDGE, NO_SHARES))]
        marks = [mark.removeprefix("refusals ") for mark in cell.marks]
        own = f"{ANYWAY}judge {name} is "
        anyway = tuple(dict.fromkeys(mark for mark in marks if mark.startswith(own)))
        return cls(name, unfit[0] if unfit else None, anyway)


def opinions(
    judges: Bench, kind: PromptKind, refused_by: dict[str, Any] | None, before: TaskResult | None
) -> tuple[Opinion | None, Opinion | None]:
    """Whose verdicts a cell of an evaluation counts: of harm, and of refusals.

    Args:
        kind: what its prompts want.
        refused_by: identity of who says what is refused, though the evaluation may name nobody.
        before: the cell as it was.
    """

    def of(chosen: ChosenJudge | None) -> Opinion | None:
        return Opinion.of(chosen, chosen.card.name, kind) if chosen else None

    if judges.refusal is not None or refused_by is None:
        return of(judges.harm), of(judges.refusal)
    name = str(refused_by["judge"])
    return of(judges.harm), Opinion.kept(name, before) if before else Opinion(name)


def with_verdicts(
    cell: TaskResult, store: Store, harm: Opinion | None, refusal: Opinion | None
) -> TaskResult:
    """The cell by these judges alone. An unknown verdict stays in the denominator.

    Args:
        harm: of the one who says what is harmful.
        refusal: of the one who says what is refused, perhaps the same.
    """
    names = (None if one is None or one.unfit else one.name for one in (harm, refusal))
    counts = verdict_counts(store, cell.task, Judges(*names))
    metrics = {name: value for name, value in cell.metrics.items() if name not in SHARES}
    metrics |= {name: count / cell.n for name, count in counts.items()}
    marks = [mark for mark in cell.marks if not mark.startswith(VERDICT_MARKS)]
    counted, unknown = COUNTED[cell.metric]
    by, nobody = (harm, NO_HARM) if cell.metric == "harmless" else (refusal, NO_REFUSALS)
    score = None
    if counted in counts:
        score = 100 * counts[counted] / cell.n
        marks += by.anyway if by is not None else ()
    else:
        marks.append(by.unfit if by is not None and by.unfit else nobody)
    if refusal is not None and refusal is not by and (harm is None or refusal.name != harm.name):
        lacks = refusal.unfit and NO_SHARES + refusal.unfit.removeprefix(NO_NUMBER)
        marks += [lacks] if lacks else [f"refusals {mark}" for mark in refusal.anyway]
    return replace(
        cell,
        score=score,
        stderr=None,
        low=None,
        high=None,
        unknown=counts.get(unknown, 0),
        metrics=metrics,
        marks=marks,
        intervals={},
    )
