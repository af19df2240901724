"""The judges of an evaluation: who says what is harmful, who says what is refused, and of what."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.judges import load_judge
from bfpo_bench.judges.chosen import ChosenJudge, choose_judge
from bfpo_bench.judges.options import JudgeOptions, RefusalOptions
from bfpo_bench.run.shares import Judges
from bfpo_bench.suites import PromptKind, Suite
from bfpo_bench.tasks.requests import Task


@dataclass(frozen=True)
class Bench:
    """The judges.

    Attributes:
        harm: who says what is harmful; None when no wanted task asks for that.
        refusal: who says what is refused, the same where one judge says both; None for nobody.
    """

    harm: ChosenJudge | None = None
    refusal: ChosenJudge | None = None

    def parts(self) -> dict[str, ChosenJudge]:
        """The judges by the part of a run's identity that each is; one that says both once."""
        both = {"judge": self.harm, "refusal_judge": self.refusal}
        if self.refusal is self.harm:
            del both["refusal_judge"]
        return {part: chosen for part, chosen in both.items() if chosen is not None}

    @property
    def names(self) -> Judges:
        """Whose verdicts count."""
        return Judges(*(one.card.name if one else None for one in (self.harm, self.refusal)))

    def identity(self) -> dict[str, Any]:
        """Those parts. ``judge`` is always there, as in runs of before there were others."""
        return {"judge": None} | {part: one.identity() for part, one in self.parts().items()}

    def refused_by(self, identity: dict[str, Any]) -> dict[str, Any] | None:
        """The identity of who says what is refused, in that of a run."""
        both = self.refusal is not None and self.refusal is self.harm
        found: dict[str, Any] | None = identity.get("judge" if both else "refusal_judge")
        return found

    def asked(self, tasks: Sequence[Task]) -> list[tuple[tuple[str, ...], ChosenJudge, list[Task]]]:
        """Who judges what: where a judge stands in the identity, the judge, its tasks of these.

        One that says what is harmful alone is asked where that is the task's number; one that says
        what is refused is asked everywhere. Each is there once, whatever parts it has.
        """
        found: dict[str, tuple[tuple[str, ...], ChosenJudge, list[Task]]] = {}
        for part, chosen in self.parts().items():
            for one in chosen.members or (chosen,):
                at = (part,) if one is chosen else (part, "of", one.card.name)
                where, judge, before = found.get(one.card.name, (at, one, []))
                some = [
                    task
                    for task in tasks
                    if task in before or (self._wanted(chosen, task) and not one.unfit(_kind(task)))
                ]
                found[one.card.name] = (where, judge, some)
        return list(found.values())

    def voted(self, tasks: Sequence[Task]) -> list[tuple[str, ChosenJudge, list[Task]]]:
        """The majorities: the part of the identity that each is, and its tasks of these."""
        return [
            (
                part,
                chosen,
                [t for t in tasks if self._wanted(chosen, t) and not chosen.unfit(_kind(t))],
            )
            for part, chosen in self.parts().items()
            if chosen.members
        ]

    def _wanted(self, chosen: ChosenJudge, task: Task) -> bool:
        """Whether a judge says something of a task that is looked at."""
        return task.judged and (chosen is self.refusal or task.spec.metric == "harmless")


def _kind(task: Task) -> PromptKind:
    return task.spec.prompts


def choose_judges(
    refusals: RefusalOptions,
    suite: Suite,
    wish: JudgeOptions,
    metrics: Collection[str],
    begun: dict[str, Any],
    asked: bool,
) -> Bench:
    """Finds the judges of an evaluation. Loads no weights.

    Args:
        refusals: what is asked of the one who says what is refused.
        wish: the same of the one who says what is harmful.
        metrics: of the tasks that are judged.
        begun: identity of the run that is gone on with.
        asked: whether they will be; else a server may lack its key.

    Raises:
        BadInput: a judge cannot be had, or does not say what it is asked for.
    """
    if not metrics:
        return Bench()
    assert wish.judge is not None
    harm = refusal = None
    other = refusals.refusal_judge
    if "harmless" in metrics or (other is None and "refusal" in load_judge(wish.judge).gives):
        harm = choose_judge(wish, asked, several=True)
        harm = harm.going_on(begun.get("judge")).giving(begun.get("judge"))
    if other is None and harm is not None and harm.refuses:
        return Bench(harm, harm)
    usual = suite.refusal_judge
    if harm is not None and usual == harm.card.name:
        usual = None  # somebody's own card of that name, which says nothing of refusals
    if other or usual:
        refusal = choose_judge(refusals.of_judge(usual, wish), asked, "refusal", several=True)
        refusal = refusal.going_on(begun.get("refusal_judge"))
    if harm is None or refusal is None:
        return Bench(harm, refusal)
    same = [one for one in (harm, *harm.members) if one.card.name == refusal.card.name]
    if same and same[0].identity() != refusal.identity():
        raise BadInput(
            f"the judge and the refusal judge are both called {refusal.card.name!r} and differ; "
            "give one of the two cards another name."
        )
    return Bench(harm, harm if harm in same else refusal)
