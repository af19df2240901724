"""`samples.sqlite`: everything that was asked, answered and judged in a run.

One SQLite file, with a write-ahead log where the file system can carry one. Answers are committed
batch by batch as they come; a process killed at any moment leaves whole batches behind, never half
of one. Nothing in the file depends on the time or on the order of the work, so an interrupted and
resumed run ends with the same rows as an undisturbed one.

An answer is known by what was asked: (task, item, choice), (task, item), (judge, task, item) …
One question has one answer. Beside it stands a key, a hash of all that could change the answer
(weights, rendered text, settings, seed): an answer is taken up again only under the same key, and a
question that is answered under another one is refused with a sentence.
"""

from bfpo_bench.run.store.fit import source_row
from bfpo_bench.run.store.known import known
from bfpo_bench.run.store.records import (
    AnnotationRecord,
    ItemRecord,
    OutcomeRecord,
    RankingRecord,
    ResponseRecord,
    ResponseTotals,
    ScoreRecord,
    VerdictRecord,
    answer_key,
)
from bfpo_bench.run.store.schema import SCHEMA_VERSION
from bfpo_bench.run.store.store import Store

__all__ = [
    "SCHEMA_VERSION",
    "AnnotationRecord",
    "ItemRecord",
    "OutcomeRecord",
    "RankingRecord",
    "ResponseRecord",
    "ResponseTotals",
    "ScoreRecord",
    "Store",
    "VerdictRecord",
    "answer_key",
    "known",
    "source_row",
]
