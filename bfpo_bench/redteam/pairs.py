"""What becomes of each prompt: a preference pair, or a reason why there is none."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bfpo_bench.redteam.questions import TASK, conversation
from bfpo_bench.redteam.request import Request
from bfpo_bench.redteam.selection import Answer, Dropped
from bfpo_bench.run.store import RankingRecord
from bfpo_bench.training.data.formats import write_row
from bfpo_bench.training.data.preferences import PreferenceRecord

Fate = Dropped | PreferenceRecord
"""The pair that a prompt makes, or why it makes none."""


def decide(
    request: Request,
    answers: Sequence[Sequence[Answer]],
    chosen: Sequence[tuple[int, int] | Dropped],
    rankings: Sequence[RankingRecord | None],
) -> list[Fate]:
    """The fate of each prompt.

    Args:
        answers: the judged responses to each prompt.
        chosen: which two of them may be a pair; see :func:`~.selection.choose_pair`.
        rankings: which of the two is more helpful; None where there are none.
    """
    found: list[Fate] = []
    for number, pair in enumerate(chosen):
        ranking = rankings[number]
        if isinstance(pair, Dropped):
            found.append(pair)
        elif ranking is None or ranking.preference is None:
            found.append(Dropped.UNRANKED)
        elif ranking.preference == 0:
            found.append(Dropped.TIE)
        else:
            prompt = request.prompts.prompts[number]
            one, two = (answers[number][i] for i in pair)
            safe = (one.harmful is False, two.harmful is False)
            found.append(
                PreferenceRecord(
                    prompt=conversation(prompt.text, request.options.system_prompt),
                    responses=(one.text, two.text),
                    more_helpful=int(ranking.preference < 0),
                    safe=safe,
                    safer=None if safe[0] == safe[1] else int(safe[1]),
                    source=TASK,
                    where=prompt.id,
                )
            )
    return found


def pairs_text(
    request: Request, fates: Sequence[Fate], rankings: Sequence[RankingRecord | None]
) -> str:
    """The preference file: a JSON line for each pair, in the order of the prompts."""
    lines = []
    for prompt, fate, ranking in zip(request.prompts.prompts, fates, rankings, strict=True):
        if isinstance(fate, PreferenceRecord) and ranking is not None:
            about = {
                "id": prompt.id,
                "category": prompt.category,
                "judge": request.judge.card.name,
                "ranker": request.ranker.name,
                "preference": ranking.preference,
            }
            lines.append(json.dumps({**write_row(fate), **about}) + "\n")
    return "".join(lines)
