"""Reference log-probabilities: the model's before its first update, computed once and kept on disk.

That model is the reference, so no second one is loaded, and the pass computes in the very forward,
arithmetic and layout of training: at the first update the policy's log-probabilities are the
reference's up to a rounding that depends on which pairs share a batch.

What the reference model thinks of a response depends on its weights and settings (config.json:
rotary embeddings, windows), on the arithmetic and on the tokens alone. The file is named after all
but the last; its keys are digests of prompt and response tokens (which template, tokenizer and
length limits have formed), so a pair that DPO has paid for is free for BFPO, whichever of its
responses wins there, and an interrupted pass goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn

from bfpo_bench.common.errors import BadInput, RunFailed, why_unwritable
from bfpo_bench.common.file_system import has_locks
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.prefix.chains import use_chain_attention
from bfpo_bench.training.data.tokenize import TokenPair
from bfpo_bench.training.pairwise.packing import pack_pairs, response_logprobs

SCHEMA = """
CREATE TABLE IF NOT EXISTS logprobs (key BLOB PRIMARY KEY, logprob REAL NOT NULL) WITHOUT ROWID
"""

LOOKED_UP_AT_ONCE = 500
"""Keys in one query; SQLite allows 999 in its oldest versions."""

TOKENS_AT_ONCE = 4096
"""Tokens that go through the model together, padding included."""

STORED_AT_ONCE = 4
"""Batches of each process between two visits to the disk."""


def sequence_key(
    prompt: Sequence[int], response: Sequence[int], weights: Sequence[float] | None = None
) -> bytes:
    """16 bytes that name a prompt and a response by their tokens, and by weights that are not 1."""
    digest = hashlib.sha256(len(prompt).to_bytes(8, "little"))
    for ids in (prompt, response):
        digest.update(np.asarray(ids, dtype="<u4").tobytes())
    if weights is not None:
        digest.update(np.asarray(weights, dtype="<f8").tobytes())
    return digest.digest()[:16]


def pair_keys(pair: TokenPair) -> tuple[bytes | None, bytes | None]:
    """Keys of the chosen and of the rejected response; None for one that is not there."""
    chosen, rejected = (
        sequence_key(pair.prompt, response, weights) if response else None
        for response, weights in (
            (pair.chosen, pair.chosen_weights),
            (pair.rejected, pair.rejected_weights),
        )
    )
    return chosen, rejected


class ReferenceCache:
    """Log-probabilities of responses, summed over their tokens, under one reference model.

    Args:
        path: an SQLite file, made when it is not there; its name should name the weights.

    Raises:
        BadInput: its folder cannot be made, or the file system has no locks.
        RunFailed: the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"the cache of reference log-probabilities {path.parent} cannot be made "
                f"({why_unwritable(error)}); set BFPO_CACHE_DIR to a folder that can."
            ) from error
        if not has_locks(path.parent):
            # Several trainings write into it at a time.
            raise BadInput(
                f"the cache of reference log-probabilities {path.parent} lies on a file system "
                "without locks; set BFPO_CACHE_DIR to a folder on another disk."
            )
        self.path = path
        with suppress(OSError):  # as the umask says; SQLite would let nobody but the owner write
            path.touch(exist_ok=False)
        with self._open() as database:
            database.execute(SCHEMA)

    def missing(self, pairs: Sequence[TokenPair]) -> list[int]:
        """Indices of the pairs that are not in the file yet; of equal ones the first."""
        wanted: dict[frozenset[bytes], int] = {}
        for index, pair in enumerate(pairs):
            wanted.setdefault(frozenset(key for key in pair_keys(pair) if key), index)
        known = self._known({key for keys in wanted for key in keys})
        return [index for keys, index in wanted.items() if not keys <= known.keys()]

    def store(self, rows: Iterable[tuple[bytes, float]]) -> None:
        """Adds log-probabilities under their keys; a known key keeps what it has."""
        with self._open() as database:
            database.executemany("INSERT OR IGNORE INTO logprobs VALUES (?, ?)", rows)

    def read(self, pairs: Sequence[TokenPair]) -> list[tuple[float, float]]:
        """(chosen, rejected) log-probabilities of each pair, all of which must be known.

        Of a response that is not there it is 0.
        """
        keys = [pair_keys(pair) for pair in pairs]
        known = self._known({key for both in keys for key in both if key})
        return [
            (known[chosen] if chosen else 0.0, known[rejected] if rejected else 0.0)
            for chosen, rejected in keys
        ]

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


def reference_file(provenance: Mapping[str, str], model: Any, precision: str) -> Path:
    """The file of a reference model: named after all that its log-probabilities depend on.

    Args:
        provenance: the base model, from :func:`~bfpo_bench.training.identity.base_identity`.
        model: with its layers selected.
        precision: the recipe's.
    """
    home = Path(os.environ.get("BFPO_CACHE_DIR", "~/.cache/bfpo-bench")).expanduser()
    parts = [provenance[part] for part in ("weights", "settings", "code") if part in provenance]
    return home / "reference" / f"{'-'.join((*parts, arithmetic(model, precision)))}.sqlite"


def arithmetic(model: Any, precision: str) -> str:
    """What besides the weights decides a log-probability, as a part of a file's name.

    In bf16 products are taken in bfloat16, whatever the number format of their weights. Trained
    weights that are no matrices of products (embeddings, norms) are float32 and keep what flows
    between the layers in float32; so their names count.

    Args:
        model: with its layers selected.
        precision: the recipe's.
    """
    if precision != "bf16":
        return precision
    products = {id(p) for m in model.modules() if isinstance(m, nn.Linear) for p in m.parameters()}
    wide = sorted(
        name
        for name, p in model.named_parameters()
        if p.dtype == torch.float32 and id(p) not in products
    )
    if not wide:
        return precision
    return f"{precision}-{hashlib.sha256(' '.join(wide).encode()).hexdigest()[:8]}"


def reference_logprobs(
    pairs: Sequence[TokenPair],
    model: Any,
    precision: str,
    file: Path,
    state: PartialState,
    progress: Progress,
) -> list[tuple[float, float]]:
    """(chosen, rejected) log-probabilities of all pairs, from disk or computed now.

    The main process alone reads and writes the file, so it may lie on a disk that no other node
    sees; all processes share the work.

    Args:
        model: before its first update, layers selected; it is moved to its device if it is needed.
        precision: the recipe's.
        file: see :class:`ReferenceCache`.

    Raises:
        RunFailed: log-probabilities are not numbers, or the GPU's memory does not suffice.
    """
    cache = ReferenceCache(file) if state.is_main_process else None
    [missing] = broadcast_object_list([cache.missing(pairs) if cache else None])
    if missing:
        batches = _batches(missing, pairs)
        model.to(state.device).eval()
        use_chain_attention(model)
        with progress.stage("reference log-probabilities", len(missing), unit="pairs"):
            # As many rounds in every process: each ends in a meeting.
            together = STORED_AT_ONCE * state.num_processes
            for start in range(0, len(batches), together):
                rows: list[tuple[bytes, float]] = []
                now = batches[start : start + together]
                for batch in now[state.process_index :: state.num_processes]:
                    rows += _compute([pairs[i] for i in batch], model, precision)
                rows = gather_object(rows)
                if cache:
                    cache.store(rows)
                progress.advance(sum(map(len, now)))
    [found] = broadcast_object_list([cache.read(pairs) if cache else None])
    return list(found)


def _batches(indices: Iterable[int], pairs: Sequence[TokenPair]) -> list[list[int]]:
    """Pairs of similar length, longest first: memory runs out, if it does, at once."""
    sizes = {
        i: len(pairs[i].prompt) + len(pairs[i].chosen) + len(pairs[i].rejected) for i in indices
    }
    batches: list[list[int]] = []
    for index in sorted(sizes, key=lambda i: (-sizes[i], i)):
        if not batches or (len(batches[-1]) + 1) * sizes[batches[-1][0]] > TOKENS_AT_ONCE:
            batches.append([])
        batches[-1].append(index)
    return batches


@torch.inference_mode()
def _compute(pairs: Sequence[TokenPair], model: Any, precision: str) -> list[tuple[bytes, float]]:
    """Keys and log-probabilities of both responses of each pair."""
    try:
        both = response_logprobs(
            model, pack_pairs(pairs), torch.bfloat16 if precision == "bf16" else None
        )
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            "the GPU's memory does not suffice for the reference log-probabilities; lower "
            "tokens.max_length, or take a GPU that holds the whole model."
        ) from error
    values = torch.stack(both, dim=1).flatten().tolist()
    if not all(map(math.isfinite, values)):
        raise RunFailed(
            "the reference model gives log-probabilities that are not numbers; its weights are "
            "damaged or overflow (try precision: fp32)."
        )
    keys = [key for pair in pairs for key in pair_keys(pair)]
    return [(key, value) for key, value in zip(keys, values, strict=True) if key]
