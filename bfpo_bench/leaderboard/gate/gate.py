"""A release gate: a candidate run held against a baseline run by a policy."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.text import valid_text
from bfpo_bench.leaderboard.columns import ALPACA, Column
from bfpo_bench.leaderboard.comparable import Opened, open_models
from bfpo_bench.leaderboard.differences import paired_columns, paired_distances
from bfpo_bench.leaderboard.gate.asked import asked_of, checks_of
from bfpo_bench.leaderboard.gate.decide import Check, Outcome, decided
from bfpo_bench.leaderboard.gate.lacking import all_items, behind, lacking
from bfpo_bench.leaderboard.gate.policy import Policy
from bfpo_bench.leaderboard.gate.words import why
from bfpo_bench.leaderboard.stats.verdicts import paired_shares

if TYPE_CHECKING:
    from pandas import DataFrame

EXIT_CODES: dict[Outcome, int] = {"pass": 0, "fail": 3, "undecided": 4}


@dataclass(frozen=True)
class Gate:
    """What came of a policy.

    Attributes:
        candidate, baseline: names of the models, not to be trusted.
        reasons: why nothing is decided, whatever the checks say; empty as a rule.
        remarks: what must be known of the numbers.
        verdicts: whose verdicts judged tasks count, in words; None without such tasks.
    """

    candidate: str
    baseline: str
    checks: tuple[Check, ...]
    reasons: tuple[str, ...]
    remarks: tuple[str, ...]
    verdicts: str | None

    @property
    def outcome(self) -> Outcome:
        """Of all checks: one failure fails, and all have to pass."""
        found = {check.outcome for check in self.checks}
        return "fail" if "fail" in found else "undecided" if "undecided" in found else "pass"

    @property
    def exit_code(self) -> int:
        """0 pass, 3 fail, 4 undecided."""
        return EXIT_CODES[self.outcome]

    @property
    def conclusion(self) -> str:
        """The outcome, and in which columns, in one sentence."""
        listed = {
            outcome: ", ".join(c.name for c in self.checks if c.outcome == outcome)
            for outcome in EXIT_CODES
        }
        said = {"fail": "fails in", "undecided": "is undecided in", "pass": "passes in"}
        parts = [f"{said[o]} {listed[o]}" for o in ("fail", "undecided", "pass") if listed[o]]
        because = f" ({'; '.join(self.reasons)})" if self.reasons else ""
        return (
            f"Gate: {self.outcome}. {self.candidate} against {self.baseline} {'; '.join(parts)}"
            f"{because}."
        )

    def why(self, check: Check) -> str:
        """What came of one of the checks, in one sentence."""
        return why(check, self.reasons)

    def to_frame(self) -> DataFrame:
        """One row per check, as a pandas frame: the fields of :class:`Check` and its sentence."""
        import pandas

        rows = [
            {
                **asdict(check),
                "told": check.told,
                "power": check.power,
                "why": self.why(check),
                "gate": self.outcome,
            }
            for check in self.checks
        ]
        return pandas.DataFrame(valid_text(rows)).astype({"n": "Int64", "whole": "Int64"})


def hold_against(
    candidate: Path,
    baseline: Path,
    policy: Policy,
    *,
    judge: str | None = None,
    seed: int = 0,
) -> Gate:
    """Holds a candidate against a baseline.

    Args:
        candidate, baseline: run directories, or folders of one model's seeds.
        judge: use this judge's verdicts.
        seed: of the bootstrap.

    Raises:
        BadInput: a run of both, runs that cannot be compared or were not measured alike, or not
            on the same items; a column that is unknown, that a run lacks, or that cannot be paired.
    """
    opened = open_models([baseline, candidate], judge)
    places = ({os.path.realpath(run.path): run.path for run in one.runs} for one in opened.models)
    theirs, mine = places
    if both := theirs.keys() & mine.keys():
        raise BadInput(
            f"{theirs[min(both)]} is a run of candidate and baseline both, and no run is worse "
            "than itself; name two that have none in common."
        )
    if opened.warnings:
        raise BadInput(
            f"a gate is for runs that were measured alike, and these were not "
            f"({'; '.join(opened.warnings)}); evaluate the candidate as the baseline was."
        )
    first, other = opened.models
    paired, remarks = paired_columns(first, other, seed, (baseline, candidate))
    # What is not asked for as a rule takes its time.
    there = {one.column.key: one for one in [*paired, *paired_distances(paired)]}
    asked = list(asked_of(policy, opened, list(there.values())))
    if any(column.key not in there for column, _ in asked):
        there |= {one.column.key: one for one in paired_shares(first, other, seed)}
    checks: list[Check] = []
    for column, terms in asked:
        one = there.get(column.key)
        if one is None:
            raise lacking(column, opened)
        all_items(one, opened, paired)
        checks += checks_of(one, terms, opened)
    reasons = _reasons(opened, policy)
    found = decided(checks)
    if reasons:
        found = tuple(replace(check, outcome="undecided") for check in found)
    judged = any(
        task.judged for column, _ in asked for task in behind(column, first.runs[0].results)
    )
    return Gate(
        candidate=opened.names[1],
        baseline=opened.names[0],
        checks=found,
        reasons=tuple(reasons),
        remarks=(*opened.remarks, *remarks, *_remarks(opened, [column for column, _ in asked])),
        verdicts=opened.verdicts if judged else None,
    )


def _reasons(opened: Opened, policy: Policy) -> list[str]:
    """Why these runs decide nothing, be their numbers what they may."""
    found: dict[str, None] = {}
    for run in (run for model in opened.models for run in model.runs):
        source, suite = run.identity.get("answers_from"), run.results.suite
        if source is not None and not policy.trust_imported:
            why = (
                f"the answers of {run.path} were imported from {source}, whose files do not say "
                "how they were asked for (`trust_imported: true` in the policy takes that on trust)"
            )
            found[why] = None
        if suite.get("demonstration"):
            why = f"the suite {suite.get('name')} is a few bundled items and measures nothing"
            found[why] = None
    return list(found)


def _remarks(opened: Opened, columns: Sequence[Column]) -> list[str]:
    """What is to be known of the numbers, and was said of them in their runs."""
    raw = any(column.key == ALPACA.key for column in columns)
    found = {"Alpaca is compared by the raw win rate": None} if raw else {}
    marks: dict[str, dict[str, None]] = {}
    models = [model.runs[0].identity["model"] for model in opened.models]
    if models[0].get("weights") is not None and models[0]["weights"] == models[1].get("weights"):
        found["candidate and baseline have the same weights"] = None
    for name, model in zip(opened.names, opened.models, strict=True):
        results = model.runs[0].results
        if results.limit is not None:
            drawn = f"{results.limit} items of each task, drawn with seed {results.seed}"
            found[f"{name} was asked at most {drawn}"] = None
        if len(model.runs) > 1:
            found[f"{name} is the mean of {len(model.runs)} runs, which bounds hold fixed"] = None
        for task in {one.task: one for c in columns for one in behind(c, results)}.values():
            unknown = [f"{task.unknown} of {task.n} verdicts unknown"] if task.unknown else []
            for mark in (*task.marks, *unknown):
                marks.setdefault(f"{name}: {mark}", {})[task.column] = None
    return [*found, *(f"{', '.join(tasks)} of {mark}" for mark, tasks in marks.items())]
