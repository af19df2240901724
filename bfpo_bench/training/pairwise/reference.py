"""Reference log-probabilities on disk: computed once, shared by methods and seeds.

What the reference model thinks of a response depends on its weights and settings (config.json:
rotary embeddings, windows), on the arithmetic and on the tokens alone. The file is named after all
but the last; its keys are digests of prompt and response tokens (which template, tokenizer and
length limits have formed), so a pair that DPO has paid for is free for BFPO, whichever of its
responses wins there, and an interrupted pass goes on where it stopped.
:mod:`bfpo_bench.training.pairwise.reference_pass` fills it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.run.store.journal import file_system, has_locks, is_network
from bfpo_bench.training.data.tokenize import TokenPair

SCHEMA = """
CREATE TABLE IF NOT EXISTS logprobs (key BLOB PRIMARY KEY, logprob REAL NOT NULL) WITHOUT ROWID
"""

LOOKED_UP_AT_ONCE = 500
"""Keys in one query; SQLite allows 999 in its oldest versions."""


def sequence_key(prompt: Sequence[int], response: Sequence[int]) -> bytes:
    """16 bytes that name a prompt and a response by their tokens."""
    digest = hashlib.sha256(len(prompt).to_bytes(8, "little"))
    for ids in (prompt, response):
        digest.update(np.asarray(ids, dtype="<u4").tobytes())
    return digest.digest()[:16]


def pair_keys(pair: TokenPair) -> tuple[bytes, bytes]:
    """Keys of the chosen and of the rejected response."""
    return sequence_key(pair.prompt, pair.chosen), sequence_key(pair.prompt, pair.rejected)


class ReferenceCache:
    """Log-probabilities of responses, summed over their tokens, under one reference model.

    Args:
        path: an SQLite file, made when it is not there; its name should name the weights.

    Raises:
        BadInput: its file system has no locks.
        RunFailed: the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_network(file_system(path)) and not has_locks(path.parent):
            # Several trainings write into it at a time.
            raise BadInput(
                f"the cache of reference log-probabilities {path.parent} lies on a file system "
                "without locks; set BFPO_CACHE_DIR to a folder on another disk."
            )
        self.path = path
        with self._open() as database:
            database.execute(SCHEMA)

    def missing(self, pairs: Sequence[TokenPair]) -> list[int]:
        """Indices of the pairs that are not in the file yet; of equal ones the first."""
        wanted: dict[frozenset[bytes], int] = {}
        for index, pair in enumerate(pairs):
            wanted.setdefault(frozenset(pair_keys(pair)), index)
        known = self._known({key for keys in wanted for key in keys})
        return [index for keys, index in wanted.items() if not keys <= known.keys()]

    def store(self, rows: Iterable[tuple[bytes, float]]) -> None:
        """Adds log-probabilities under their keys; a known key keeps what it has."""
        with self._open() as database:
            database.executemany("INSERT OR IGNORE INTO logprobs VALUES (?, ?)", rows)

    def read(self, pairs: Sequence[TokenPair]) -> list[tuple[float, float]]:
        """(chosen, rejected) log-probabilities of each pair, all of which must be known."""
        keys = [pair_keys(pair) for pair in pairs]
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
        """A connection that commits when its block ends well, and is closed in any case.

        It keeps SQLite's own journal: a write-ahead log does not work on network disks, where
        home folders often are, and there are few writes.
        """
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as database, database:
                yield database
        except sqlite3.Error as error:
            raise RunFailed(
                f"cannot use the cache of reference log-probabilities {self.path}: {error}; mend "
                "the cause (disk space, permissions), or delete the file and run the same again."
            ) from error
