"""Reference log-probabilities: computed once, kept on disk, shared by methods and seeds.

What the reference model thinks of a response depends on its weights and on the tokens alone. The
file is named after the weights; its keys are digests of prompt and response tokens (which template,
tokenizer and length limits have formed), so a pair that DPO has paid for is free for BFPO,
whichever of its responses wins there, and an interrupted pass goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from bfpo_bench.engines.protocol import Share
from bfpo_bench.engines.scoring import Scorer, continuation_request
from bfpo_bench.errors import RunFailed
from bfpo_bench.training.tokens import TokenPair

SCHEMA = """
CREATE TABLE IF NOT EXISTS logprobs (key BLOB PRIMARY KEY, logprob REAL NOT NULL) WITHOUT ROWID
"""

LOOKED_UP_AT_ONCE = 500
"""Keys in one query; SQLite allows 999 in its oldest versions."""

Tokens = tuple[Sequence[int], Sequence[int]]
"""Prompt and response."""


def sequence_key(prompt: Sequence[int], response: Sequence[int]) -> bytes:
    """16 bytes that name a prompt and a response by their tokens."""
    digest = hashlib.sha256(len(prompt).to_bytes(8, "little"))
    for ids in (prompt, response):
        digest.update(np.asarray(ids, dtype="<u4").tobytes())
    return digest.digest()[:16]


class ReferenceCache:
    """Log-probabilities of responses, summed over their tokens, under one reference model.

    Args:
        path: an SQLite file, made when it is not there; its name should name the weights.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        with self._open() as database:
            database.execute(SCHEMA)

    def missing(self, pairs: Iterable[TokenPair]) -> list[Tokens]:
        """Prompts and responses of some pairs that are not in the file yet, each once."""
        wanted: dict[bytes, Tokens] = {
            sequence_key(pair.prompt, response): (pair.prompt, response)
            for pair in pairs
            for response in (pair.chosen, pair.rejected)
        }
        known = self._known(wanted)
        return [sequence for key, sequence in wanted.items() if key not in known]

    def fill(
        self, missing: Sequence[Tokens], scorer: Scorer, share: Share | None = None
    ) -> Iterator[int]:
        """Computes sequences batch by batch and stores each batch.

        Args:
            missing: from :meth:`missing`; the same in every process that shares the work.
            scorer: of the reference model.
            share: the part of this process.

        Yields:
            how many sequences have just been stored.

        Raises:
            RunFailed: the reference model's log-probabilities are not numbers.
        """
        requests = [continuation_request(*sequence) for sequence in missing]
        for batch in scorer.run(requests, share=share):
            rows = [(sequence_key(*missing[i]), reading.loglikelihood) for i, reading in batch]
            if not all(math.isfinite(value) for _, value in rows):
                raise RunFailed(
                    "the reference model gives log-probabilities that are not numbers; its "
                    "weights are damaged or overflow (try precision: fp32)."
                )
            with self._open() as database:
                database.executemany("INSERT OR IGNORE INTO logprobs VALUES (?, ?)", rows)
            yield len(rows)

    def read(self, pairs: Sequence[TokenPair]) -> list[tuple[float, float]]:
        """(chosen, rejected) log-probabilities of each pair, all of which must be known."""
        keys = [
            (sequence_key(p.prompt, p.chosen), sequence_key(p.prompt, p.rejected)) for p in pairs
        ]
        known = self._known({key for both in keys for key in both})
        return [(known[chosen], known[rejected]) for chosen, rejected in keys]

    def _known(self, keys: Iterable[bytes]) -> dict[bytes, float]:
        wanted = list(keys)
        found: dict[bytes, float] = {}
        with self._open() as database:
            for start in range(0, len(wanted), LOOKED_UP_AT_ONCE):
                some = wanted[start : start + LOOKED_UP_AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, logprob FROM logprobs WHERE key IN ({marks})"
                found.update(database.execute(query, some))
        return found

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection that commits when its block ends well, and is closed in any case."""
        with closing(sqlite3.connect(self.path, timeout=60)) as database, database:
            database.execute("PRAGMA journal_mode=WAL")
            yield database
