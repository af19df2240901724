"""What a red teaming found: counts by category, and what became of every prompt."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bfpo_bench.common.statistics import share
from bfpo_bench.evaluation.target import LocalTarget
from bfpo_bench.models.own_settings import unused_settings
from bfpo_bench.redteam.pairs import Fate
from bfpo_bench.redteam.prompts import PromptSet
from bfpo_bench.redteam.request import Request
from bfpo_bench.redteam.selection import Answer, Dropped
from bfpo_bench.training.data.preferences import PreferenceRecord

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Category:
    """Counts of one category, or of all.

    Attributes:
        prompts: prompts asked.
        responses: responses to them.
        harmful, unknown: how many of them the judge calls so.
        share: percent of responses that are harmful; unknown ones stay in the denominator.
        stderr: standard error of the share in percentage points, over prompts: responses to one
            prompt are alike.
        pairs: prompts that made a pair.
    """

    prompts: int
    responses: int
    harmful: int
    unknown: int
    share: float
    stderr: float
    pairs: int


@dataclass(frozen=True)
class Summary:
    """A red teaming in numbers; written beside the pairs.

    Attributes:
        output: name of the preference file.
        digest: sha256 of its bytes.
        made_of: all that the file depends on.
        prompts: where the prompts come from, and what became of its rows.
        total: counts over all prompts.
        categories: the same by category, in the order in which they occur.
        pairs: pairs by the safety of the more and the less helpful response.
        dropped: prompts that made no pair, by reason.
        cut_off: responses that ended at their greatest length.
        notes: sentences that belong next to the numbers.
    """

    output: str
    digest: str
    made_of: dict[str, Any]
    prompts: dict[str, Any]
    total: Category
    categories: dict[str, Category]
    pairs: dict[str, int]
    dropped: dict[str, int]
    cut_off: int
    notes: list[str]
    no_answer: int = 0
    schema: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The summary as the text of its file."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def read_summary(path: Path) -> Summary | None:
    """The summary in a file; None where there is none of this program's."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["total"] = Category(**content["total"])
        content["categories"] = {k: Category(**v) for k, v in content["categories"].items()}
        summary = Summary(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return summary if summary.schema == SCHEMA_VERSION else None


def summarize(
    request: Request,
    made_of: dict[str, Any],
    text: str,
    answers: Sequence[Sequence[Answer]],
    fates: Sequence[Fate],
    cut_off: int,
    no_answer: int,
) -> Summary:
    """The summary of a preference file.

    Args:
        made_of: all that the file depends on.
        text: of the file.
        answers: the responses to each prompt.
        fates: the pair that each prompt made, or why it made none.
        cut_off: responses that ended at their greatest length.
        no_answer: responses that hold no answer.
    """
    prompts = request.prompts
    total, categories = count(prompts, answers, fates)
    dropped = Counter(fate.value for fate in fates if isinstance(fate, Dropped))
    summary = Summary(
        output=request.options.output.name,
        digest=hashlib.sha256(text.encode("ascii")).hexdigest(),
        made_of=made_of,
        prompts={
            "source": prompts.where,
            "rows": prompts.rows,
            "blank": prompts.blank,
            "repeated": prompts.repeated,
            "left_out": prompts.left_out,
        },
        total=total,
        categories=categories,
        pairs=kinds_of_pairs(fates),
        dropped={reason.value: dropped[reason.value] for reason in Dropped},
        cut_off=cut_off,
        notes=[],
        no_answer=no_answer,
    )
    return replace(summary, notes=_notes(request, summary))


def _notes(request: Request, summary: Summary) -> list[str]:
    total, judge, plain = summary.total, request.judge.card.name, request.target.plain
    notes = [*request.prompts.marks]
    told = [plain] if plain else request.target.chat_marks
    if isinstance(request.target, LocalTarget):
        told = told + unused_settings(request.target.files)
    for mark in told:
        notes.append(f"{mark[0].upper()}{mark[1:]}.")
    if total.unknown == total.responses:
        notes.append(f"The judge {judge} could not tell of any response whether it is harmful.")
    elif not total.harmful:
        notes.append(f"None of {total.responses} responses was judged harmful by {judge}.")
    if not total.pairs:
        notes.append(f"{summary.output} is empty: there is nothing to train on.")
    if summary.no_answer:
        notes.append(f"{summary.no_answer} of {total.responses} responses hold no answer.")
    if summary.cut_off:
        notes.append(
            f"{summary.cut_off} of {total.responses} responses were cut off at "
            f"{request.options.max_new_tokens} tokens."
        )
    return notes


def count(
    prompts: PromptSet,
    answers: Sequence[Sequence[Answer]],
    fates: Sequence[Fate],
) -> tuple[Category, dict[str, Category]]:
    """Counts over all prompts, and by category where there are categories.

    Args:
        answers: the responses to each prompt.
        fates: the pair that each prompt made, or why it made none.
    """
    everything = range(len(prompts.prompts))
    members: dict[str, list[int]] = {}
    for index in everything:
        members.setdefault(prompts.prompts[index].category, []).append(index)

    def counted(indices: Sequence[int]) -> Category:
        verdicts = [[answer.harmful for answer in answers[i]] for i in indices]
        percent, stderr = share([some.count(True) / len(some) for some in verdicts])
        return Category(
            prompts=len(indices),
            responses=sum(map(len, verdicts)),
            harmful=sum(some.count(True) for some in verdicts),
            unknown=sum(some.count(None) for some in verdicts),
            share=percent,
            stderr=stderr,
            pairs=sum(isinstance(fates[i], PreferenceRecord) for i in indices),
        )

    by_category = {name: counted(some) for name, some in members.items()}
    return counted(everything), by_category if set(by_category) != {""} else {}


def kinds_of_pairs(fates: Sequence[Fate]) -> dict[str, int]:
    """Pairs by the safety of both responses: what decides the label of BFPO (Eq. 12)."""
    kinds: Mapping[tuple[bool | None, bool | None], str] = {
        (True, False): "more helpful safe, less helpful harmful",
        (False, True): "more helpful harmful, less helpful safe",
        (False, False): "both harmful",
    }
    found = dict.fromkeys(kinds.values(), 0)
    for pair in fates:
        if isinstance(pair, PreferenceRecord):
            winner = pair.more_helpful or 0
            found[kinds[pair.safe[winner], pair.safe[1 - winner]]] += 1
    return found
