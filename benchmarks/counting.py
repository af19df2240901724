"""Tokens and operations that a set of requests costs, whoever computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bfpo_bench.engines.prefix.tree import SortedRequests
from bfpo_bench.engines.protocol import ScoreRequest
from bfpo_bench.engines.tokenization import encode_pairs


@dataclass(frozen=True)
class Count:
    """What some requests hold.

    Attributes:
        asked: tokens of all requests, each counted from its first token.
        tree: tokens of their prefix tree: the least that has to be computed.
        pairs: (token, token it attends to) in that tree.
        predictions: places of the tree whose next token somebody asks about.
    """

    asked: int
    tree: int
    pairs: int
    predictions: int

    def operations(self, config: Any) -> float:
        """Floating-point operations that computing the tree once takes.

        Args:
            config: of a Llama-like model (grouped-query attention, gated feed-forward layers).
        """
        hidden, layers = config.hidden_size, config.num_hidden_layers
        head = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
        queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
        matrices = 2 * hidden * queries + 2 * hidden * keys + 3 * hidden * config.intermediate_size
        # A multiplication and an addition each; queries meet keys, weights meet values.
        operations: float = (
            2.0 * layers * matrices * self.tree
            + 4.0 * layers * queries * self.pairs
            + 2.0 * hidden * config.vocab_size * self.predictions
        )
        return operations


def count(tokenizer: Any, requests: Sequence[ScoreRequest]) -> Count:
    """Counts what requests hold under a tokenizer."""
    return count_tokens(encode_pairs(tokenizer, [(r.context, r.continuation) for r in requests]))


def count_tokens(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Count:
    """Counts what requests hold, given as the tokens of (context, continuation)."""
    # The last token of a request is predicted, never read.
    fed = [[*context, *continuation][:-1] for context, continuation in pairs]
    tree = SortedRequests(fed)
    everything = tree.lay_out(range(len(fed)))
    asked_at: set[int] = set()
    for index, path in zip(everything.requests, everything.paths, strict=True):
        asked_at.update(path[len(pairs[index][0]) - 1 :].tolist())
    return Count(
        asked=sum(map(len, fed)),
        tree=len(everything),
        pairs=int((everything.positions + 1).sum()),
        predictions=len(asked_at),
    )


def load(model: Path) -> tuple[Any, Any]:
    """Config and tokenizer of a checkpoint."""
    from transformers import AutoConfig, AutoTokenizer

    folder = str(model)
    return AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
