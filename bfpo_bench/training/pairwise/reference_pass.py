"""The reference pass: log-probabilities of all pairs under the model before its first update.

That model is the reference, so no second one is loaded, and the pass computes in the very forward,
arithmetic and layout of training: at the first update the policy's log-probabilities are the
reference's up to a rounding that depends on which pairs share a batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.prefix.chains import use_chain_attention
from bfpo_bench.training.data.tokenize import TokenPair
from bfpo_bench.training.pairwise.packing import pack_pairs, response_logprobs
from bfpo_bench.training.pairwise.reference import ReferenceCache, pair_keys

TOKENS_AT_ONCE = 4096
"""Tokens that go through the model together, padding included."""

STORED_AT_ONCE = 4
"""Batches of each process between two visits to the disk."""


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
        mine = batches[state.process_index :: state.num_processes]
        model.to(state.device).eval()
        use_chain_attention(model)
        with progress.stage("reference log-probabilities", len(missing), unit="pairs"):
            # As many rounds in every process: each ends in a meeting.
            for start in range(0, -(-len(batches) // state.num_processes), STORED_AT_ONCE):
                rows: list[tuple[bytes, float]] = []
                for batch in mine[start : start + STORED_AT_ONCE]:
                    rows += _compute([pairs[i] for i in batch], model, precision)
                rows = gather_object(rows)
                if cache:
                    cache.store(rows)
                progress.advance(len(rows) // 2)
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
    return list(zip(keys, values, strict=True))
