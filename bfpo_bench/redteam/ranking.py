"""The stage that ranks pairs, storing rankings as they come."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.rankers import ChosenRanker, Comparison, Ranking, rank_all
from bfpo_bench.redteam.questions import TASK
from bfpo_bench.run.store import RankingRecord, ResponseRecord, Store, answer_key

RANK_CHUNK = 64
"""Pairs that a ranker which runs here plans its batches for; fixed, so that a resumed run forms the
same ones."""

Pair = tuple[ResponseRecord, ResponseRecord]


def rank_pairs(
    pairs: Sequence[Pair], ranker: ChosenRanker, store: Store, progress: Progress
) -> list[RankingRecord]:
    """The ranking of each pair; the ranker is loaded only where one is missing.

    Raises:
        RunFailed: the ranker gives something that is no number; names the prompt.
    """
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
    return [stored[key] for key in keys]


def _record(key: str, name: str, pair: Pair, ranking: Ranking) -> RankingRecord:
    one, two = pair
    value = ranking.preference
    if value is not None and not math.isfinite(value):
        raise RunFailed(
            f"prompt {one.item.rpartition('-')[0]}: the ranker {name} gave {value} where a finite "
            "number is due; mend its weights or its function, or try --dtype float32. The rankings "
            "before are kept."
        )
    return RankingRecord(key, name, TASK, one.item, two.item, value, ranking.raw)
