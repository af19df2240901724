"""Token requests in, log-probabilities out: planning, batches, running out of memory.

Batches are planned from all requests and from nothing else but the token budget, so that a run
that was interrupted, or one that is shared between processes, computes the very same batches.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from bfpo_bench.engines.batching import pending
from bfpo_bench.engines.packed_model import PackedModel, Readings, Wanted
from bfpo_bench.engines.packing import Row, SortedRequests, batches_of_rows, choose_row_tokens
from bfpo_bench.engines.plain_model import PlainModel
from bfpo_bench.engines.protocol import Done, Share
from bfpo_bench.errors import RunFailed

log = logging.getLogger(__name__)

ROW_TOKENS = (128, 256, 512, 1024, 2048, 4096)
"""Lengths of rows to choose from."""


@dataclass(frozen=True)
class TokenRequest:
    """Predictions wanted within one sequence of tokens.

    Attributes:
        ids: tokens that the model is fed, ``[tokens]``.
        wanted: which predictions; see :class:`bfpo_bench.engines.packed_model.Wanted`.
    """

    ids: Sequence[int]
    wanted: Wanted


def continuation_request(context: Sequence[int], continuation: Sequence[int]) -> TokenRequest:
    """The request for the log-likelihood of a continuation after a context.

    The model is not fed the last token: nothing is asked after it.
    """
    ids = [*context, *continuation][:-1]
    return TokenRequest(ids, Wanted(len(context) - 1, continuation))


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

    def read(self, rows: Sequence[Row], wanted: Sequence[Sequence[Wanted]]) -> Readings: ...


class Scorer:
    """Computes requests in batches that share what they have in common.

    Args:
        model: a causal transformers model, in evaluation mode.
        max_tokens: tokens that go through the model at once, padding included.
        max_requests: requests of a batch at most; None for as many as fit.
        share_prefixes: False computes each request on its own (for models whose attention cannot
            be told which tokens to see).
    """

    def __init__(
        self,
        model: Any,
        max_tokens: int,
        max_requests: int | None = None,
        share_prefixes: bool = True,
    ) -> None:
        self.share_prefixes = share_prefixes
        self._reader: Reader = PackedModel(model) if share_prefixes else PlainModel(model)
        self.max_tokens = max_tokens
        self.max_requests = max_requests
        self._per_token, self._per_pair = _operations(model)
        # Tokens of the smallest batch that did not fit the memory.
        self._too_many: int | None = None
        self.computed_tokens = 0
        """Tokens that went through the model so far, padding not counted."""

    def run(
        self, requests: Sequence[TokenRequest], done: Done = (), share: Share | None = None
    ) -> Iterator[list[tuple[int, Reading]]]:
        """Yields batches of (index into `requests`, reading).

        Args:
            done: indices whose readings are known; batches of nothing else are left out.
            share: which batches are this process's.
        """
        plan = _Plan(requests, self, (share and share.max_tokens) or self.max_tokens)
        batches = plan.batches
        if share is not None:
            batches = batches[share.rank :: share.processes]
        for batch in pending(batches, done):
            yield self._fitting(plan, batch)

    def row_tokens(self, ordered: SortedRequests, max_tokens: int) -> int:
        """The length of rows that these requests cost least in, `max_tokens` at most."""
        candidates = [size for size in ROW_TOKENS if size <= max_tokens] or [max_tokens]
        return choose_row_tokens(ordered, candidates, self._per_token, self._per_pair)

    @torch.inference_mode()
    def _fitting(self, plan: _Plan, batch: list[int]) -> list[tuple[int, Reading]]:
        """Computes a batch; in halves when the memory does not suffice."""
        rows = plan.rows(batch)
        tokens = sum(map(len, rows))
        full = False
        if self._too_many is None or tokens < self._too_many or len(batch) == 1:
            try:
                wanted = [[plan.requests[i].wanted for i in row.requests] for row in rows]
                readings = self._reader.read(rows, wanted)
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
            self._too_many = tokens
        half = len(batch) // 2
        return self._fitting(plan, batch[:half]) + self._fitting(plan, batch[half:])


def _operations(model: Any) -> tuple[float, float]:
    """Floating-point operations per token and per pair of tokens in a row's attention."""
    embeddings = {id(model.get_input_embeddings().weight)}
    if model.get_output_embeddings() is not None:
        embeddings.add(id(model.get_output_embeddings().weight))
    matrices = sum(p.numel() for p in model.parameters() if id(p) not in embeddings)
    config = model.config.get_text_config()
    layers = getattr(config, "num_hidden_layers", 0)
    # Two products (queries with keys, weights with values) of a multiplication and an addition.
    return 2.0 * matrices, 4.0 * layers * getattr(config, "hidden_size", 0)


class _Plan:
    """Which requests make a row, and which rows a batch."""

    def __init__(self, requests: Sequence[TokenRequest], scorer: Scorer, max_tokens: int) -> None:
        self.requests = requests
        limit = scorer.max_requests
        self._ordered = SortedRequests([request.ids for request in requests])
        if scorer.share_prefixes and requests:
            ranges = self._ordered.cut(scorer.row_tokens(self._ordered, max_tokens), limit)
        else:
            ranges = [range(place, place + 1) for place in range(len(requests))]
        sizes = [self._ordered.tokens_of(row) for row in ranges]
        self._row_of = [number for number, row in enumerate(ranges) for _ in row]
        self._place_of = {index: place for place, index in enumerate(self._ordered.order)}
        self.batches = [
            [self._ordered.order[place] for row in batch for place in ranges[row]]
            for batch in batches_of_rows(sizes, list(map(len, ranges)), max_tokens, limit)
        ]

    def rows(self, batch: Sequence[int]) -> list[Row]:
        """Lays out some requests, each in the row that the plan has for it."""
        members: dict[int, list[int]] = {}
        for index in batch:
            place = self._place_of[index]
            members.setdefault(self._row_of[place], []).append(place)
        return [self._ordered.lay_out(places) for places in members.values()]


def _split(readings: Readings) -> Iterator[Reading]:
    """Readings request by request."""
    counts = torch.bincount(readings.owners, minlength=readings.requests).tolist()
    logprobs, greedy = readings.logprobs.tolist(), readings.greedy.tolist()
    at = 0
    for count in counts:
        yield Reading(logprobs[at : at + count], all(greedy[at : at + count]))
        at += count
