"""Preference pairs as packed rows: a prompt is computed once for both of its responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bfpo_bench.engines.prefix.chains import ChainedModel
from bfpo_bench.engines.prefix.packed import Query
from bfpo_bench.engines.prefix.tree import Row, SortedRequests
from bfpo_bench.training.data.tokenize import TokenPair


@dataclass(frozen=True)
class PackedPairs:
    """Some pairs, laid out to go through a model together.

    Attributes:
        rows: packed sequences, prompt + response without its last token.
        queries: what is read off each row's requests: the responses.
        order: ``[responses]``: reading number k belongs to sequence ``order[k]``, where sequence
            2·i is the chosen and 2·i + 1 the rejected response of pair i. An unpaired row has one.
        pairs: number of pairs.
        weights: of each target token, response after response as they are read; None where all
            weigh 1.
    """

    rows: list[Row]
    queries: list[list[Query]]
    order: list[int]
    pairs: int
    weights: list[float] | None = None


def pack_pairs(pairs: Sequence[TokenPair]) -> PackedPairs:
    """Packs pairs into rows as long as the longest pair, none of them split.

    Rows are padded to the longest of a batch, so shorter pairs share a row: first fit, longest
    first.
    """
    sequences = {
        2 * i + side: ([*pair.prompt, *response][:-1], len(pair.prompt) - 1, response)
        for i, pair in enumerate(pairs)
        for side, response in enumerate((pair.chosen, pair.rejected))
        if response
    }
    own = [[n for n in (2 * i, 2 * i + 1) if n in sequences] for i in range(len(pairs))]
    trees = [SortedRequests([sequences[n][0] for n in both]).tree_tokens() for both in own]
    room = max(trees, default=0)
    bins: list[list[int]] = []
    left: list[int] = []
    for i in sorted(range(len(pairs)), key=lambda i: (-trees[i], i)):
        at = next((b for b, free in enumerate(left) if free >= trees[i]), None)
        if at is None:
            at = len(bins)
            bins.append([])
            left.append(room)
        bins[at].append(i)
        left[at] -= trees[i]
    rows, queries, order = [], [], []
    for members in bins:
        numbers = [n for i in members for n in own[i]]
        ordered = SortedRequests([sequences[n][0] for n in numbers])
        row = ordered.lay_out(range(len(numbers)))
        rows.append(row)
        queries.append(
            [Query(sequences[numbers[k]][1], sequences[numbers[k]][2]) for k in row.requests]
        )
        order += [numbers[k] for k in row.requests]
    return PackedPairs(rows, queries, order, len(pairs), _weights(pairs, order))


def _weights(pairs: Sequence[TokenPair], order: Sequence[int]) -> list[float] | None:
    given = [one for pair in pairs for one in (pair.chosen_weights, pair.rejected_weights)]
    if all(one is None for one in given):
        return None
    sizes = [len(response) for pair in pairs for response in (pair.chosen, pair.rejected)]
    return [weight for n in order for weight in given[n] or [1.0] * sizes[n]]


def response_logprobs(
    model: Any, packed: PackedPairs, products: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the responses, summed over their tokens by their weights.

    Args:
        model: a causal transformers model.
        products: number format that matrix products are taken in (autocast); None for the
            weights' own.

    Returns:
        chosen and rejected, float32 ``[pairs]`` each, differentiable; 0 where there is none.
    """
    with torch.autocast(model.device.type, products, enabled=products is not None):
        found = ChainedModel(model).read(packed.rows, packed.queries)
    weights = None if packed.weights is None else found.logprobs.new_tensor(packed.weights)
    sums = found.sums(weights)
    places = torch.tensor(packed.order, device=sums.device)
    every = sums.new_zeros(2 * packed.pairs).index_copy(0, places, sums)
    # Copies, not views: wrappers hang their hooks on what a forward returns.
    return every[0::2].clone(), every[1::2].clone()
