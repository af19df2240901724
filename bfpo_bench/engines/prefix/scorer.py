"""Token requests in, log-probabilities out: planning, batches, running out of memory.

Batches are planned from all requests and from nothing else but the token budget, so that a run
that was interrupted, or one that is shared between processes, computes the very same batches.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.engines.plan import Plan
from bfpo_bench.engines.prefix.attention import attention
from bfpo_bench.engines.prefix.bins import Cost, cut_into_pieces, fill_batches, fill_rows
from bfpo_bench.engines.prefix.packed import Logprobs, PackedModel, Query
from bfpo_bench.engines.prefix.plain import PlainModel
from bfpo_bench.engines.prefix.rope import RopeByLength
from bfpo_bench.engines.prefix.tree import Row, SortedRequests, batches_of_rows
from bfpo_bench.engines.protocol import Answered

log = logging.getLogger(__name__)

DENSE_PAIR = 2.0
"""What an operation of dense attention costs, in operations of a matrix product. On a CPU, at 2,048
tokens in rows of 256 and heads of 64, the profile of a small Llama says 1.8."""


REPEATS = Cost(per_token=1.0, per_pair=0.0)
"""Counts nothing but tokens, those that a cut lets be computed again among them."""


@dataclass(frozen=True)
class TokenRequest:
    """Predictions wanted within one sequence of tokens.

    Attributes:
        ids: tokens that the model is fed, ``[tokens]``.
        query: which predictions; see :class:`bfpo_bench.engines.prefix.packed.Query`.
    """

    ids: Sequence[int]
    query: Query


def continuation_request(context: Sequence[int], continuation: Sequence[int]) -> TokenRequest:
    """The request for the log-likelihood of a continuation after a context.

    The model is not fed the last token: nothing is asked after it.
    """
    ids = [*context, *continuation][:-1]
    return TokenRequest(ids, Query(len(context) - 1, continuation))


@dataclass(frozen=True)
class Reading:
    """Answer to a :class:`TokenRequest`.

    Attributes:
        logprobs: natural-log probabilities of its targets, ``[targets]``.
        is_greedy: whether every target was the most probable token.
    """

    logprobs: list[float]
    is_greedy: bool

    @property
    def loglikelihood(self) -> float:
        """Sum of the log-probabilities, added up without rounding on the way."""
        return math.fsum(self.logprobs) if all(map(math.isfinite, self.logprobs)) else math.nan


class Reader(Protocol):
    """A model that reads log-probabilities off rows."""

    def read(self, rows: Sequence[Row], queries: Sequence[Sequence[Query]]) -> Logprobs: ...


class Scorer:
    """Computes requests in batches that share what they have in common.

    Args:
        model: a causal transformers model, in evaluation mode.
        max_tokens: tokens that go through the model at once, padding included.
        max_requests: requests of a batch at most; None for as many as fit.
        share_prefixes: False computes each request on its own (for models whose attention cannot
            be told which tokens to see).
        kind: attention to score with, e.g.
            :data:`bfpo_bench.engines.prefix.attention.FLEX`; None for the model's own.
    """

    def __init__(
        self,
        model: Any,
        max_tokens: int,
        max_requests: int | None = None,
        share_prefixes: bool = True,
        kind: str | None = None,
    ) -> None:
        self.share_prefixes = share_prefixes
        self._model = model
        self._kind = kind
        self.rope = RopeByLength(model)
        self._reader: Reader = PackedModel(model) if share_prefixes else PlainModel(model)
        self.max_tokens = max_tokens
        self.max_requests = max_requests
        self._cost = _operations(model)
        # Tokens that the memory is trusted with; half of the last batch that did not fit.
        self._room = math.inf
        self.computed_tokens = 0
        """Tokens that went through the model so far, padding not counted."""

    def plan(self, requests: Sequence[TokenRequest]) -> Plan[Reading]:
        """The batches in which the readings of requests are computed."""
        homes = _Homes(requests, self)

        def compute(numbers: Sequence[int], known: Set[int]) -> Iterator[list[tuple[int, Reading]]]:
            for number in numbers:
                yield self._fitting(homes, homes.batches[number])

        return Plan(homes.batches, compute)

    def run(
        self, requests: Sequence[TokenRequest], answered: Answered = ()
    ) -> Iterator[list[tuple[int, Reading]]]:
        """Yields batches of (index into `requests`, reading).

        Args:
            answered: indices whose readings are known; batches of nothing else are left out.
        """
        yield from self.plan(requests).run(answered)

    def batches(self, ordered: SortedRequests, max_tokens: int) -> list[list[list[range]]]:
        """Batches of rows of ranges of places in ``ordered.order``."""
        limit = self.max_requests
        if not self.share_prefixes:
            single = [range(place, place + 1) for place in range(len(ordered.order))]
            sizes = [ordered.tokens_of(row) for row in single]
            batches = batches_of_rows(sizes, [1] * len(sizes), max_tokens, limit)
            return [[[single[row]] for row in batch] for batch in batches]
        # Where pairs of tokens that do not see each other cost nothing, a batch is one long row.
        cost = self._cost if self._kind is None else REPEATS
        pieces = cut_into_pieces(ordered, max_tokens, cost, limit)
        sizes = [ordered.tokens_of(piece) for piece in pieces]
        counts = list(map(len, pieces))
        if self._kind is None:
            filled = fill_batches(sizes, counts, max_tokens, cost, limit)
        else:
            filled = [[row] for row in fill_rows(sizes, counts, max_tokens, limit)]
        return [[[pieces[piece] for piece in row] for row in batch] for batch in filled]

    @torch.inference_mode()
    def _fitting(self, plan: _Homes, batch: list[int]) -> list[tuple[int, Reading]]:
        """Computes a batch; in halves when the memory does not suffice."""
        rows = plan.rows(batch)
        tokens = sum(map(len, rows))
        full = False
        if tokens <= self._room or len(batch) == 1:
            try:
                queries = [[plan.requests[i].query for i in row.requests] for row in rows]
                self.rope.forget()
                with attention(self._model, self._kind):
                    readings = self._reader.read(rows, queries)
                self.computed_tokens += tokens
                return list(
                    zip((i for row in rows for i in row.requests), _split(readings), strict=True)
                )
            except torch.OutOfMemoryError:
                full = True
        # Outside of the except clause: the exception holds on to the tensors of its frames.
        if full:
            torch.cuda.empty_cache()
            if len(batch) == 1:
                raise RunFailed(
                    f"the GPU has no room for one sequence of {tokens} tokens; lower "
                    "--max-length, use --dtype bfloat16 or a larger GPU, then run the same "
                    "command again."
                )
            log.warning("out of GPU memory with %d tokens at once; going on with fewer", tokens)
            self._room = tokens // 2
        half = len(batch) // 2
        return self._fitting(plan, batch[:half]) + self._fitting(plan, batch[half:])


def _operations(model: Any) -> Cost:
    """What a model's rows cost, in floating-point operations of matrix products."""
    embeddings = {id(model.get_input_embeddings().weight)}
    if model.get_output_embeddings() is not None:
        embeddings.add(id(model.get_output_embeddings().weight))
    matrices = sum(p.numel() for p in model.parameters() if id(p) not in embeddings)
    config = model.config.get_text_config()
    layers = getattr(config, "num_hidden_layers", 0)
    # Two products (queries with keys, weights with values) of a multiplication and an addition.
    return Cost(2.0 * matrices, DENSE_PAIR * 4.0 * layers * getattr(config, "hidden_size", 0))


class _Homes:
    """Which requests make a row, and which rows a batch."""

    def __init__(self, requests: Sequence[TokenRequest], scorer: Scorer) -> None:
        self.requests = requests
        self.batches: list[list[int]] = []
        # Of each request: the trees it belongs to, its place in their order, its row.
        self._homes: dict[int, tuple[SortedRequests, int, int]] = {}
        self._rows = 0
        regimes: dict[int, list[int]] = {}
        for index, request in enumerate(requests):
            regimes.setdefault(scorer.rope.regime(len(request.ids)), []).append(index)
        ids = [request.ids for request in requests]
        for regime in sorted(regimes, reverse=True):
            self._add(SortedRequests(ids, regimes[regime]), scorer)

    def _add(self, ordered: SortedRequests, scorer: Scorer) -> None:
        for rows in scorer.batches(ordered, scorer.max_tokens):
            batch = []
            for row in rows:
                places = sorted(place for piece in row for place in piece)
                self._rows += 1
                for place in places:
                    self._homes[ordered.order[place]] = (ordered, place, self._rows)
                    batch.append(ordered.order[place])
            self.batches.append(batch)

    def rows(self, batch: Sequence[int]) -> list[Row]:
        """Lays out some requests of a batch, each in the row that the plan has for it."""
        ordered = self._homes[batch[0]][0]
        members: dict[int, list[int]] = {}
        for index in batch:
            _, place, row = self._homes[index]
            members.setdefault(row, []).append(place)
        return [ordered.lay_out(places) for places in members.values()]


def _split(readings: Logprobs) -> Iterator[Reading]:
    """Logprobs request by request."""
    counts = torch.bincount(readings.owners, minlength=readings.requests).tolist()
    logprobs, greedy = readings.logprobs.tolist(), readings.greedy.tolist()
    at = 0
    for count in counts:
        yield Reading(logprobs[at : at + count], all(greedy[at : at + count]))
        at += count
