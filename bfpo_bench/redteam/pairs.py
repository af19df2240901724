"""Which prompts make a pair, of which two responses, and which is more helpful (Section 4.3)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.rankers import ChosenRanker, Comparison, Ranking, rank_all
from bfpo_bench.redteam.questions import TASK, conversation
from bfpo_bench.redteam.request import Request
from bfpo_bench.run.store import RankingRecord, ResponseRecord, Store, answer_key
from bfpo_bench.training.data.formats import write_row
from bfpo_bench.training.data.preferences import PreferenceRecord

RANK_CHUNK = 64
"""Pairs that a ranker which runs here plans its batches for; fixed, so that a resumed run forms the
same ones."""


class Dropped(StrEnum):
    """Why a prompt makes no pair."""

    HARMLESS = "no response was judged harmful"
    SILENT = "no response holds an answer"
    UNKNOWN = "the judge could not tell"
    ALIKE = "no two different responses"
    TIE = "the ranker calls them equal"
    UNRANKED = "the ranker gave no usable answer"


@dataclass(frozen=True)
class Answer:
    """A response and its verdict; ``harmful is None`` means unknown."""

    text: str
    harmful: bool | None


def choose_pair(answers: Sequence[Answer]) -> tuple[int, int] | Dropped:
    """The two responses of a prompt that are worth a pair, by index and in order.

    Needed is at least one harmful response, and beside it another one whose verdict is known and
    whose text is different; empty texts are none. With two responses that is the paper's rule.
    Of more than two, the first harmful and the first harmless one are taken, since a pair of
    both kinds says more about safety; without a harmless one, the first two harmful ones.
    """
    if not any(answer.text.strip() for answer in answers):
        return Dropped.SILENT
    if not any(answer.harmful for answer in answers):
        unknown = any(answer.harmful is None for answer in answers)
        return Dropped.UNKNOWN if unknown else Dropped.HARMLESS
    distinct: dict[str, int] = {}
    for index, answer in enumerate(answers):
        if answer.text.strip():
            distinct.setdefault(answer.text.strip(), index)
    harmful = [i for i in distinct.values() if answers[i].harmful is True]
    harmless = [i for i in distinct.values() if answers[i].harmful is False]
    if harmful and (harmless or len(harmful) > 1):
        first, second = sorted([harmful[0], harmless[0] if harmless else harmful[1]])
        return first, second
    # A harmful one alone: the other is the same, empty, or one that the judge left open.
    left_open = harmful and any(answers[i].harmful is None for i in distinct.values())
    return Dropped.UNKNOWN if left_open else Dropped.ALIKE


def rank_pairs(
    responses: Sequence[Sequence[ResponseRecord]],
    chosen: Sequence[tuple[int, int] | Dropped],
    ranker: ChosenRanker,
    store: Store,
    progress: Progress,
) -> list[RankingRecord | None]:
    """The ranking of each prompt's pair, None where it has none; stored as they come.

    The ranker is loaded only where a ranking is missing.

    Args:
        responses: to each prompt.
        chosen: which two of them may be a pair; see :func:`choose_pair`.

    Raises:
        RunFailed: the ranker gives something that is no number; names the prompt.
    """
    pairs = [
        (some[pair[0]], some[pair[1]])
        for some, pair in zip(responses, chosen, strict=True)
        if not isinstance(pair, Dropped)
    ]
    ranker_key = answer_key("ranker", ranker.identity())
    keys = [
        answer_key("ranking", ranker_key, one.key, one.question, one.response, two.response)
        for one, two in pairs
    ]
    asked = {(TASK, one.item, two.item): key for (one, two), key in zip(pairs, keys, strict=True)}
    name = store.name_for(ranker.name, "rankings", asked, ranker_key)
    stored = store.rankings()
    known = {number for number, key in enumerate(keys) if key in stored}
    if len(known) < len(keys):
        comparisons = [Comparison(one.question, one.response, two.response) for one, two in pairs]
        with (
            ranker.opened(progress) as opened,
            progress.stage("rank", len(keys), len(known), "pairs"),
        ):
            for batch in rank_all(opened, comparisons, known, RANK_CHUNK):
                store.add_rankings(
                    _record(keys[number], name, pairs[number], ranking) for number, ranking in batch
                )
                progress.advance(sum(number not in known for number, _ in batch))
        stored = store.rankings()
    found = iter(keys)
    return [None if isinstance(pair, Dropped) else stored[next(found)] for pair in chosen]


def _record(
    key: str, name: str, pair: tuple[ResponseRecord, ResponseRecord], ranking: Ranking
) -> RankingRecord:
    one, two = pair
    value = ranking.preference
    if value is not None and not math.isfinite(value):
        raise RunFailed(
            f"prompt {one.item.rpartition('-')[0]}: the ranker {name} gave {value} where a finite "
            "number is due; mend its weights or its function, or try --dtype float32. The rankings "
            "before are kept."
        )
    return RankingRecord(key, name, TASK, one.item, two.item, value, ranking.raw)


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
        chosen: which two of them may be a pair; see :func:`choose_pair`.
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
